"""python launch.py method=wf dataset=celeba; see python launch.py --help."""

from mlu.__main__ import main

if __name__ == "__main__":
    main()
