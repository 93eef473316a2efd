#!/usr/bin/env python3
"""Writes tests/data/parquet/: small tables of pictures as Python's `datasets` writes them, for tests/tables.rs.

Needs pyarrow and Pillow:  python3 -m venv venv && venv/bin/pip install pyarrow Pillow && venv/bin/python FILE
The pictures follow a formula, which the test knows too.
"""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

OUT = Path(__file__).resolve().parent.parent / "tests/data/parquet"
NAMES = ["tench", "n02102040", "church, church building"]


def picture(seed, width, height, mode="RGB"):
    """Smooth enough that JPEG decoders agree to some grey levels."""
    image = Image.new("RGB", (width, height))
    image.putdata([((3 * x + seed) % 256, (5 * y + 2 * seed) % 256, (2 * x + 2 * y + 7 * seed) % 256)
                   for y in range(height) for x in range(width)])
    return image.convert(mode)


def encoded(image, form, **options):
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def table(images, labels, features, names):
    """Columns as `datasets` has them: the picture a struct of its bytes and its path; names in the file's metadata."""
    image_name, label_names = features
    arrays = [pa.array([None if b is None else {"bytes": b, "path": f"{i}.png"} for i, b in enumerate(images)],
                       pa.struct([("bytes", pa.binary()), ("path", pa.string())]))]
    arrays += [pa.array(column, pa.int64()) for column in labels]
    info = {image_name: {"_type": "Image"}}
    info |= {name: {"names": names, "_type": "ClassLabel"} for name in label_names}
    made = pa.table(arrays, names=[image_name, *label_names])
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": info}})})


def main():
    OUT.mkdir(parents=True, exist_ok=True)

    # two shards, one of each codec, row groups of three, PNG and JPEG of several sizes
    for shard, codec in enumerate(["snappy", "zstd"]):
        rows = range(5 * shard, 5 * shard + 5)
        images = [encoded(picture(i, 20 + i, 18 + 2 * i), "JPEG" if i % 2 else "PNG",
                          **({"quality": 95, "subsampling": 0} if i % 2 else {})) for i in rows]
        pq.write_table(table(images, [[i % 3 for i in rows]], ("image", ["label"]), NAMES),
                       OUT / f"test-0000{shard}-of-00002.parquet", compression=codec, row_group_size=3)

    # CIFAR-100's columns, small pages, version 2 of the pages
    images = [encoded(picture(i, 32, 32), "PNG") for i in range(7)]
    fine, coarse = [(10 * i) % 100 for i in range(7)], [i % 20 for i in range(7)]
    pq.write_table(table(images, [fine, coarse], ("img", ["fine_label", "coarse_label"]), None),
                   OUT / "cifar100.parquet", compression="snappy", row_group_size=4, data_page_size=64,
                   data_page_version="2.0", use_dictionary=["fine_label"])

    # what pictures of ImageNet bring with them: grey, transparent, 16 bits, CMYK, a palette
    odd = [encoded(picture(1, 24, 24, "L"), "JPEG"), encoded(picture(2, 24, 24, "RGBA"), "PNG"),
           encoded(picture(3, 24, 24, "L").convert("I").point(lambda v: 257 * v).convert("I;16"), "PNG"),
           encoded(picture(4, 24, 24, "CMYK"), "JPEG", quality=95, subsampling=0),
           encoded(picture(5, 24, 24).quantize(16), "PNG")]
    pq.write_table(table(odd, [[0, 1, 2, 0, 1]], ("image", ["label"]), NAMES), OUT / "odd.parquet",
                   compression="zstd")
    # as Pillow makes RGB of them (of 16 bits, which it makes white, what they were made of)
    expected = [Image.open(io.BytesIO(data)).convert("RGB") for data in odd]
    expected[2] = picture(3, 24, 24, "L").convert("RGB")
    (OUT / "odd.rgb").write_bytes(b"".join(image.tobytes() for image in expected))

    # what is wrong with rows: no picture, no label, a label of no class, bytes that are no picture
    good = encoded(picture(0, 8, 8), "PNG")
    pq.write_table(table([good, None, good, b"no picture", good[:40], good], [[0, 1, None, 1, 2, 9]],
                         ("image", ["label"]), NAMES), OUT / "wrong.parquet", compression="none")

    # other types and names of columns, no metadata
    plain = pa.table({"id": pa.array([[1], [2, 3]], pa.list_(pa.int64())), "photo": pa.array([good, good], pa.binary()),
                      "class": pa.array([1, 0], pa.int32()), "text": ["a", "b"]})
    pq.write_table(plain, OUT / "plain.parquet", compression="snappy")
    pq.write_table(plain, OUT / "gzip.parquet", compression="gzip")


if __name__ == "__main__":
    main()
