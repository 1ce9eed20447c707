"""Writes broken and hostile files, for the tests of the readers and as seeds for their fuzzers (Python's library alone).

    python3 tests/io/make_broken.py OUT

OUT/<reader>/sound/*    files that are read; what the others are made from
OUT/<reader>/broken/*   files that must be refused: cut at every boundary of their structure, sizes and offsets that are
                        huge, overlap or contradict each other, bombs, names that leave the folder, cycles, code to run
OUT/<reader>/flipped/*  one byte changed: read or refused, nothing else
Readers: pickle, zip, torch_file, safetensors, npy, idx, cifar, cifar_pickle, card, gzip, archive, mat, image, results, journal, merge,
card_keys (tests/fuzz/targets.cpp).
"""
import sys

from broken import archives, arrays, cards, data_sets, pickles, pictures, runs, torch_files, zips
from broken.writer import Writer


def main():
    writer = Writer(sys.argv[1])
    for make in (pickles.pickles, zips.zips, torch_files.torch_files, arrays.safetensors, arrays.npy, data_sets.data_sets,
                 cards.cards, archives.gzips, archives.archives, pictures.mats, pictures.images,
                 runs.results, runs.journals, runs.merges, runs.card_keys):
        make(writer)


if __name__ == "__main__":
    main()
