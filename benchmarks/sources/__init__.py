"""Published unlearning methods, each by its authors' rule.

Every file was written from one paper and its authors' code, and from nothing else: no other file of
this project was read for it and none is imported. A file says in its docstring which repository,
commit and files were read, and where the code leaves the paper's text; its `Settings` hold the
authors' values and where each comes from. `unlearn` trains a copy: the network that it is given is
never written to, and equal seeds give equal results. On 2026-11-30 each was run beside its authors'
own functions on the same batches, in single precision on one core, without augmentation: no number
of the two networks differed, but for SalUn's mixed order, which was not run.
"""
