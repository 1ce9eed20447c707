"""Whether files agree with a JSON Schema: python check_results.py SCHEMA FILE...

The keywords that docs/results.schema.json uses, and one thing more: a property that the schema does not name is a fault
here. Where the package jsonschema is installed, it is asked too."""
import json
import sys

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
KEYWORDS = {"$schema", "title", "description", "type", "properties", "required", "items", "minItems", "maxItems",
            "minimum", "maximum", "const"}


def is_of(value, name):
    if name in ("number", "integer"):
        return not isinstance(value, bool) and isinstance(value, (int, float) if name == "number" else int)
    return isinstance(value, TYPES[name])


def check(value, schema, place):
    assert set(schema) <= KEYWORDS, f"{place}: the schema has a keyword that this script does not know: {set(schema) - KEYWORDS}"
    names = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if not any(is_of(value, name) for name in names):
        yield f"{place} needs {' or '.join(names)}, but holds {json.dumps(value)[:60]}"
        return
    if "const" in schema and value != schema["const"]:
        yield f"{place} needs {schema['const']}, but holds {value}"
    if isinstance(value, (int, float)) and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        yield f"{place} is out of its range: {value}"
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{place} has {len(value)} items"
        for i, item in enumerate(value):
            yield from check(item, schema["items"], f"{place}[{i}]")
    if isinstance(value, dict) and "properties" in schema:
        for name in schema.get("required", []):
            if name not in value:
                yield f"{place} lacks {name}"
        for name, item in value.items():
            if name not in schema["properties"]:
                yield f"{place}.{name} is not in the schema"
            else:
                yield from check(item, schema["properties"][name], f"{place}.{name}")


schema = json.load(open(sys.argv[1]))
try:
    import jsonschema
except ImportError:
    jsonschema = None
for name in sys.argv[2:]:
    results = json.load(open(name))
    for fault in check(results, schema, name):
        print(fault)
    if jsonschema:
        for error in jsonschema.Draft202012Validator(schema).iter_errors(results):
            print(f"{name}: {error.message[:200]} at {error.json_path}")
