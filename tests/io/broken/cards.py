"""Model cards: TOML."""

def cards(w):
    good = ('[model]\narch = "wrn28_10"\nclasses = 10\nmean = [0.4914, 0.4822, 0.4465]\nstd = [0.2471, 0.2435, 0.2616]\n'
            'input-shape = [3, 32, 32]\nsource = "here"\nsha256 = ""\nactivation = "relu"\n')
    data = good.encode()
    w.put("card", "sound", "full", data)
    for i in range(0, len(data), 3):
        changed = bytearray(data)
        changed[i] ^= (0x01, 0x80, 0xFF)[i % 3]
        w.put("card", "flipped", f"full.byte-{i}", bytes(changed))
    for at, c in enumerate(good):
        if c in '"[' and good[at - 1] != "\n":
            w.put("card", "broken", f"full.cut-at-{at}", data[:at])
    for name, bad in {
        "letter": "[model]\nclasses =\u00e9 10\n", "letter-high": "[model]\nclasses =\ufefc 10\n",
        "star": '[*odel]\narch = "wrn56_10', "misspelt": '[model]\narhc = "x"\n',
        "wrong-type": "[model]\nclasses = \"ten\"\n", "negative": "[model]\nclasses = -1\n",
        "activation": '[model]\nactivation = "gelu"\n', "infinite": "[model]\nmean = [inf]\n",
        "date": "[model]\nsource = 1979-05-27\n",
        "nested": "[model.deep]\na = 1\n", "huge-number": "[model]\nclasses = 99999999999999999999\n",
        "twice": "[model]\nclasses = 1\nclasses = 2\n",
        "deep": "[model]\nmean = " + "[" * 100000, "deep-tables": "[" + "a." * 50000 + "a]\n",
        "not-utf8": "[model]\nsource = \"\xff\"\n",
        "binary": "\x00\x01\x02", "lists": "[model]\nmean = [[1]]\n".replace("[[1]]", "[{a = 1}]"),
    }.items():
        w.put("card", "broken", name, bad.encode("utf8") if name.startswith("letter") else bad.encode("latin1"))
