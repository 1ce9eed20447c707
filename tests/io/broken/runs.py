"""What runs leave behind: results.json, journals, the two files that are merged; and the metadata of checkpoints."""
import json
import zlib

from .arrays import safetensors_of

HUGE = 10**18
DEEP = "[" * 100000 + "]" * 100000
FLAGS = [1, 1, 0, 1]


def structure(text):
    """Where the brackets, colons and quotes of a text stand."""
    return [i for i, c in enumerate(text) if c in '{}[]:,"']


def peer(name):
    return {"name": name, "file": name + ".pth", "clean_accuracy": 75.0, "robust_accuracy": 25.5, "robust": [0, 1, 0, 0],
            "difference": 25, "wins": 2, "losses": 1, "p": 0.5, "difference_interval": [-40.5, 60.25], "smallest_detectable": 99}


def context(name):
    return {"context": name, "clean_accuracy": 75, "robust_accuracy": 50.0, "interval": [15, 85], "clean_interval": [30.1, 95.4],
            "clean_correct": FLAGS, "robust": [1, 0, 0, 1], "leading": "ste", "ste_accuracy": 62.5, "obfuscation_gap": 12.5,
            "joint_any": 49, "worst_draw_accuracy": 0, "collusion": [{"colluders": 8, "victim_too": False, "victims": 100, "broke": 21}],
            "benign": [{"malicious": 32, "images": 96, "clean_accuracy": 80.5, "accuracy": 70.25}],
            "broken_by": [{"by": "fc/apgd-t in solo, composed", "images": 3}, {"by": "eps 0.01", "images": 1, "eps": 0.01, "colluders": 3}],
            "surrogates": [{"name": "ste", "kind": "white box", "complete": True, "robust_accuracy": 60, "broke": 1, "of": 3, "first": 1},
                           {"name": "hard", "same_as": "ste"}, {"name": "base", "unavailable": "needs --base FILE"}],
            "control": peer("control")}


def run(first_index=0):
    """results.json of four images, as a dictionary; nearly every field is there."""
    out = {"schema": 1, "hpm_version": "0.1.0", "commit": "abc", "started": "2026-11-29T18:00:00Z", "seconds": 81.2,
           "model": "m.pth", "model_info": {"name": "hpm", "sha256": "00ff", "classes": 10, "parameters": 70, "head": "hpm",
                                            "normalisation": {"mean": [0.5], "std": [0.25]}, "lambda": 0.3},
           "role": "ours", "dataset": "cifar10", "split": "test", "class_names": ["a", "Gr\u00fcn"], "n": 4, "first_index": first_index,
           "labels": [0, 1, 1, 0], "norm": "Linf", "eps": 0.03, "protocol": "msa", "version": "quick", "budget": "msa quick",
           "company": {"size": 128, "seed": 5}, "seed": 18446744073709551615, "threads": 2}
    out.update(context("solo"))
    out.update({"predictions": {"clean": [0, 1, 1, 1], "adversarial": [1, 1, 0, 1]}, "standard_error": 25,
                "attacks": [{"name": "apgd-ce", "surrogate": "ste", "context": "solo", "robust_accuracy": 50, "robust": FLAGS,
                             "forward_passes": 40, "backward_passes": 30, "seconds": 0.25}],
                "stages": [{"name": "core", "attack": "relaxation", "images": 4, "attacked": 3, "broke": 1}], "escalated": True,
                "alarms": [{"name": "random", "value": 2, "limit": 0, "fired": True}], "bound": {"stage": "core", "sampled": 3},
                "contexts": [context("solo"), context("joint")], "curve": [{"eps": 0.01, "robust_accuracy": 60}],
                "sweep": [{"context": "solo", "lambda": 0.5, "clean_accuracy": 75, "robust_accuracy": 50}],
                "compositions": [{"size": 8, "order": "class", "robust_accuracy": 40.5}],
                "self_test": {"name": "binarisation", "images": 64, "tested": 60, "found": 57, "share": 95}, "base": peer("base"),
                "quantised": {"robust_accuracy": 50, "robust": FLAGS}, "borderline": 2,
                "checks": [{"name": "unbounded", "status": "failed", "value": 4, "limit": 1}], "suspect": True,
                "reasons": ["unbounded"], "notes": [], "gallery": [{"index": 3, "label": 2, "norm": 0.1}],
                "config": {"threat": {"eps": "8/255"}}})
    return out


def changed(**fields):
    return json.dumps(run() | fields)


# What no reader of results may take, each for the sentence that it gets.
BAD_RESULTS = {
    "empty": "", "page": "<html>404</html>", "list": "[]", "number": "5", "text": '"results"', "deep": DEEP, "deep-open": "[" * 200000,
    "deep-objects": '{"a":' * 100000, "config-deep": changed(config=0).replace('"config": 0', '"config": ' + DEEP),
    "n-huge": changed(n=HUGE), "n-billion": changed(n=10**9), "n-zero": changed(n=0), "n-negative": changed(n=-4), "n-fraction": changed(n=4.5),
    "n-2-64": changed(n=2**64 - 1), "n-1e999": changed(n=0).replace('"n": 0', '"n": 1e999'), "n-other": changed(n=5),
    "classes-huge": changed(model_info={"classes": HUGE}), "classes-negative": changed(model_info={"classes": -1}),
    "first-huge": changed(first_index=2**63 - 1), "first-negative": changed(first_index=-1), "indices-short": changed(indices=[1, 2]),
    "indices-huge": changed(indices=[1, 2, 3, HUGE]), "labels-huge": changed(labels=[0, 1, 2, HUGE]), "labels-negative": changed(labels=[0, 1, 2, -1]),
    "flags-2": changed(robust=[1, 0, 2, 1]), "flags-short": changed(robust=[1]), "flags-text": changed(clean_correct="1111"),
    "wins-huge": changed(base=peer("base") | {"wins": HUGE}), "wins-many": changed(control=peer("control") | {"wins": 10**14}),
    "seed-negative": changed(seed=-1), "schema-2": changed(schema=2), "schema-none": json.dumps({"n": 4}), "eps-text": changed(eps="8/255"),
    "interval-one": changed(interval=[1]), "contexts-object": changed(contexts={}), "contexts-null": changed(contexts=[None]),
    "surrogate-nameless": changed(surrogates=[{}]), "attack-short": changed(attacks=[{"name": "fab", "robust": [1]}]),
}


def results(w):
    text = json.dumps(run())
    w.sound("results", "full", text.encode(), [0, 1, *structure(text)[::3], len(text) - 1])
    w.put("results", "sound", "smallest", b'{"schema": 1, "n": 1}')
    w.put("results", "broken", "not-utf8", changed(role="?").encode().replace(b'"?"', b'"\xff"'))
    for name, bad in BAD_RESULTS.items():
        w.put("results", "broken", name, bad.encode())


def sealed(line, payload=b""):
    """A line of a journal: {...} with the CRC-32 of itself and of its tensors' bytes."""
    line = (line if isinstance(line, str) else json.dumps(line, separators=(",", ":")))[:-1]
    return f'{line},"crc":"{zlib.crc32(payload, zlib.crc32(line.encode())):08x}"}}\n'.encode()


def journal_of(*lines, data=b""):
    """The lines, a byte 0, and what the journal has in its other file."""
    return b"".join(lines) + b"\0" + data


def journals(w):
    head = sealed({"journal": 1, "fingerprint": "00ff"})

    def piece(key="piece", dtype="uint8", shape=(4,), payload=b"abcd", **more):
        return sealed({"key": key, "seconds": 0.5, "tensors": [{"name": "flags", "dtype": dtype, "shape": list(shape)}]} | more, payload)

    two = journal_of(head, piece("a"), piece("b", "float32", (1, 2), bytes(8)), data=b"abcd" + bytes(8))
    lines = two.index(b"\0")
    inside = [i for i in structure(two[:lines].decode())[::2] if two[i - 1:i] != b"\n"]  # whole lines are a sound journal
    w.sound("journal", "two", two, [0, 1, *inside, lines, lines + 1, lines + 6, len(two) - 1])
    w.put("journal", "sound", "head", journal_of(head))
    w.put("journal", "sound", "empty-tensor", journal_of(head, piece("a", shape=(0, 5), payload=b"")))
    w.put("journal", "sound", "leftover", journal_of(head, piece("a"), data=b"abcd-half a piece"))
    for name, bad in {
        "empty": b"", "no-head": journal_of(piece(), data=b"abcd"), "page": b"<html>404</html>\n",
        "head-deep": journal_of(sealed('{"journal":' + DEEP + "}")), "head-list": journal_of(sealed("[1]")),
        "deep": journal_of(head, sealed('{"key":' + DEEP + "}")), "unsealed": journal_of(head, b'{"key":"a","tensors":[]}\n'),
        "seal-wrong": journal_of(head, piece(payload=b"abce"), data=b"abcd"), "type": journal_of(head, piece(dtype="uint4"), data=b"abcd"),
        "size-negative": journal_of(head, piece(shape=(-4,), payload=b""), data=b"abcd"),
        "sizes-negative": journal_of(head, piece(shape=(-2, -2)), data=b"abcd"),
        "size-huge": journal_of(head, piece(dtype="float64", shape=(2**61 + 1,)), data=b"abcd"),
        "sizes-2-64": journal_of(head, piece(shape=(2**32, 2**32), payload=b"")), "size-2-64": journal_of(head, piece(shape=(2**64 - 1,), payload=b"")),
        "zero-times-huge": journal_of(head, piece(shape=(0, 2**62, 2**62), payload=b"")),
        "sum-2-64": journal_of(head, piece(tensors=[{"name": str(i), "dtype": "uint8", "shape": [2**63 - 1]} for i in range(4)], payload=b"")),
        "shape-text": journal_of(head, piece(tensors=[{"name": "a", "dtype": "uint8", "shape": "4"}]), data=b"abcd"),
        "nameless": journal_of(head, piece(tensors=[{"dtype": "uint8", "shape": [4]}]), data=b"abcd"),
        "keyless": journal_of(head, sealed({"seconds": 1, "tensors": []})), "seconds-text": journal_of(head, piece(seconds="long"), data=b"abcd"),
        "not-utf8": journal_of(head, sealed('{"key":"?","tensors":[]}').replace(b"?", b"\xff")),
    }.items():
        w.put("journal", "broken", name, bad)


def merges(w):
    """Two shards: results.json and fingerprint.json of one, then of the other, with a byte 30 between them."""
    settings = {"--eps": "0.1", "--steps": "10", "SHA-256 of the model": "00ff"}

    def pair(a=None, b=None, s=settings, t=settings):
        texts = [run() if a is None else a, s, run(4) if b is None else b, t]
        return "\x1e".join(text if isinstance(text, str) else json.dumps(text) for text in texts)

    text = pair()
    ends = [i for i, c in enumerate(text) if c == "\x1e"]
    w.sound("merge", "two", text.encode(), [0, *structure(text)[::8], *ends, *(end + 1 for end in ends), len(text) - 1])
    w.put("merge", "sound", "indices", pair(run() | {"indices": [7, 5, 3, 1]}, run() | {"indices": [0, 2, 4, 6]}).encode())
    large = {key: 10**15 for key in ("forward_passes", "backward_passes")}
    w.put("merge", "sound", "large-counts", pair(*(run(i) | {"borderline": 10**15, "attacks": [{"name": "fab", "robust": FLAGS, **large}]}
                                                   for i in (0, 4))).encode())
    few = run() | {"clean_correct": []}
    for name, bad in {
        "overlap": pair(run(2)), "other-settings": pair(t=settings | {"--eps": "0.2"}), "other-data": pair(run() | {"dataset": "mnist"}),
        "other-contexts": pair(run() | {"contexts": []}), "settings-deep": pair(t='{"a":' + DEEP + "}"), "settings-list": pair(t="[]"),
        "settings-empty": pair(t=""), "no-flags": pair(few), "n-without-flags": pair({"schema": 1, "n": 10**8}),
        "n-huge": pair(run() | {"n": HUGE}), "config-deep": pair('{"schema":1,"n":4,"config":' + DEEP + "}"),
        "indices-twice": pair(run() | {"indices": [1, 1, 2, 3]}),
    }.items():
        w.put("merge", "broken", name, bad.encode())


def card_keys(w):
    def file(**metadata):
        return safetensors_of({"__metadata__": {"format": "pt", **{"model." + key: text for key, text in metadata.items()}}}, b"")

    full = file(arch="wrn28_10", classes="10", mean="0.4914,0.4822,0.4465", std="0.2471,0.2435,0.2616", **{"input-shape": "3,32,32"},
                source="here", activation="relu", key="state_dict")
    w.sound("card_keys", "full", full, [0, 7, *(8 + i for i in structure(full[8:].decode())), len(full) - 1])
    w.put("card_keys", "sound", "none", safetensors_of({}, b""))
    for name, bad in {
        "classes-text": {"classes": "ten"}, "classes-negative": {"classes": "-1"}, "classes-huge": {"classes": "9" * 30},
        "mean-infinite": {"mean": "inf"}, "mean-list": {"mean": "[1]"}, "mean-gap": {"mean": "1,,2"}, "std-zero-divisor": {"std": "1/0"},
        "shape-huge": {"input-shape": "1e300,1,1"}, "shape-negative": {"input-shape": "-1,1,1"}, "activation": {"activation": "gelu"},
        "misspelt": {"arhc": "x"}, "unknown": {"nothing": "x"}, "long-key": {"k" * 10000: "x"}, "long-text": {"classes": "9" * 10000},
    }.items():
        w.put("card_keys", "broken", name, file(**bad))
