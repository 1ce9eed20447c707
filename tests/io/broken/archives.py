"""Compressed files and archives."""
import base64
import gzip
import io
import tarfile
import zipfile


def gzips(w):
    data = gzip.compress(bytes(i * i % 251 for i in range(3000)), 9, mtime=0)
    w.sound("gzip", "squares.gz", data, [10, 11, 20, len(data) // 2, *range(len(data) - 9, len(data))])
    for name, bad in {
        "checksum": data[:-8] + b"\0\0\0\0" + data[-4:], "length": data[:-4] + b"\1\0\0\0",
        "bomb": gzip.compress(bytes(1 << 26), 9, mtime=0),
        "method": data[:2] + b"\7" + data[3:], "block-type": data[:10] + b"\7" + data[11:],
    }.items():
        w.put("gzip", "broken", name, bad)


def archives(w):
    def tar(*members, kind="w:gz", links=()):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode=kind, format=tarfile.PAX_FORMAT) as archive:
            for name, content in members:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            for name, target, link_type in links:
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = link_type, target
                archive.addfile(entry)
        data = bytearray(out.getvalue())
        if kind == "w:gz":
            data[4:8] = bytes(4)  # the time of day
        return bytes(data)

    noise = bytes(i * i * 7 % 253 for i in range(2500))
    data = tar(("folder/a.bin", noise), ("folder/b.txt", b"b" * 700))
    w.sound("archive", "two.tar.gz", data, [5, 12, 40, len(data) // 2, len(data) - 20])
    plain = tar(("a.bin", noise), kind="w:")
    w.sound("archive", "one.tar", plain, [300, 513, 700, 2600])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("folder/a.bin"), noise, zipfile.ZIP_DEFLATED)
    w.sound("archive", "one.zip", out.getvalue(), [10, 200])
    for name, bad in {
        "up.tar": tar(("../up", b"x"), kind="w:"), "up-inside.tar": tar(("a/../../up", b"x"), kind="w:"),
        "absolute.tar": tar(("/etc/up", b"x"), kind="w:"),
        "twice.tar": tar(("a", b"x"), ("a", b"y"), kind="w:"),
        "file-as-folder.tar": tar(("a", b"x"), ("a/b", b"y"), kind="w:"),
        "link.tar": tar(links=[("a", "/etc/passwd", tarfile.SYMTYPE)], kind="w:"),
        "hard-link.tar": tar(("b", b"x"), links=[("a", "b", tarfile.LNKTYPE)], kind="w:"),
        "device.tar": tar(links=[("a", "", tarfile.CHRTYPE)], kind="w:"), "bomb.tar.gz": tar(("zeros", bytes(1 << 24))),
        "many.tar.gz": tar(*[(f"f{i}", b"") for i in range(300)]), "long-name.tar": tar(("n" * 300, b"x"), kind="w:"),
        "control.tar": tar(("a\nb", b"x"), kind="w:"), "none": b"no archive at all, but text " * 40,
        # libarchive gives no reason for refusing this one.
        "no-reason": base64.b64decode("H4sIAAAAAAAC/+3dPW7bQBgGYR0lRxCXyyV5nDQ+QJzc34LLwFUADwbIfI3c2cZAxftAP2/Px7ff83Vrzs/H1/39+MXPa1v74wfw"
                                      "pz0ef95///z1+pWP//PeNmn/WX+k/5D2P+qP9N+l/Vf9kf5T2v+sP9L/cPY/n/VH+i9p/63+SP9T2n/UHw+p/9Uf6i/1v/wH6g=="),
    }.items():
        w.put("archive", "broken", name, bad)
