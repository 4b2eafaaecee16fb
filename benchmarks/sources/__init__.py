"""Published unlearning methods, each by its authors' rule.

Every file was written from the code that a paper's authors (or, for boundary unlearning, the
repository that carries their name) published, and imports nothing else of this project; no method
of ours was read for it. The papers' own texts were not to be had. A file says in its docstring
which repository, commit and files were read; its `Settings` hold the authors' values and where
each comes from. `unlearn` trains a copy: the network that it is given is never written to, and
equal seeds give equal results. On 2026-11-30 the rules were run beside the sources' own functions
on the same batches, in single precision on one core, without augmentation: no number of the two
networks differed. SalUn's mixed order was not run.
"""
