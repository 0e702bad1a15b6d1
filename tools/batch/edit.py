"""Edit many pictures on a running ComfyUI, which may be on another machine. Needs: pip install requests tqdm pillow

examples:
  python -m tools.batch edit pictures/ --source "a photo of a cat" --target "a photo of a dog" --out edited/
  python -m tools.batch edit --prompts list.csv --checkpoint v1-5-pruned-emaonly.safetensors --steps 50 --skip-steps 18

  python -m tools.batch edit pictures/ ... --server http://10.0.0.1:8188 --server http://10.0.0.2:8188
  python -m tools.batch edit --prompts s3://bucket/list.parquet --out s3://bucket/edited --shard 3/16

  python -m tools.batch edit --dataset PIE/mapping_file.json --checkpoint v1-4.safetensors --seed 1234 --out runs/ef
  ... --sweep cfg=15,skip_steps=36 --sweep cfg=12,skip_steps=36 --sweep cfg=9,skip_steps=36

list.csv has a header and a row per edit: picture, source, target, and if you like any parameter by its name above
(skip_steps, with underscores) or as "Title.input". An empty cell leaves a parameter as the options have it.
Pictures are looked for beside the list, or in the folder if one is named too. A list may be parquet; it, the pictures
and the results may be in an object store (s3://, gs://), for which pyarrow is needed.

--dataset makes the pictures of a data set that `python -m tools.batch evaluate` measures: PIE-Bench, its parquet copy,
the official yaml, CSV or parquet with named columns. --sweep does all edits once with each setting, whatever lists
them.

several servers share the pictures; edits of one picture that follow each other go to the same server, which remembers
its inversion. A server that is gone gives its picture back to the others and is asked again; when all are gone, the
command ends. --shard I/N does part I (from 0) of N, the same in every run, where a cluster runs the command N times.

what is filled into a graph (--graph: "Export (API)" in ComfyUI's menu):
  the picture     the LoadImage titled "Image", or the only LoadImage
  the prompts     every text of the nodes titled "Source prompt" and "Target prompt"
  the parameters  see each option; "Title.input" (--set, CSV) is that input of the nodes with that title
  the result      the SaveImage titled "Edited", or the only SaveImage; only what leads to it is run
  the mask        of a case of --dataset, if it has one: the LoadImageMask or LoadImage titled "Mask", or the only
                  LoadImageMask

pictures are decoded here, by Pillow, and sent as PNGs of 8 bits that all versions of ComfyUI read alike: upright, the
first frame, without alpha. `evaluate` decodes them in the same way. Both they and the results are in the server's
folder of temporary files, which ComfyUI empties when it starts.

results: NAME_KEY.png (NAME_KEY_v0.png, ... for several) and NAME_KEY.json beside it, where KEY comes from the picture's
content, the prompts and all settings. The JSON is written last: an edit with its JSON and pictures is finished and is
skipped next time; with anything changed it gets another KEY and stands beside the first. Results that lie in the folder
of the pictures are not edited again. What fails has a record in the folder "failed", until it succeeds. Two commands
may write into one folder at once: what both do is done twice, and whole.

a server behind a password or a token: --server https://USER:PASSWORD@HOST, or --header "Authorization: Bearer TOKEN".
Other users of this machine can read a command line: --header @FILE reads the headers from a file, one a line. Neither
is ever printed or written into a record.

exit code: 0 all is edited, 1 some failed or the server stopped, 2 wrong usage, 130 Ctrl-C. The same command resumes.
"""

from __future__ import annotations

import argparse

from tqdm import tqdm

from .batch import Batch
from .connection import DEFAULT_SERVER, add_header, clients_of
from .job import Job
from .plan import EditRequest, add_options, plan_of
from .store import store_at
from .tally import Tally
from .template import UsageError


def run(options: argparse.Namespace) -> int:
    """Run the command; its exit status."""
    try:
        request = EditRequest.of(options)
        clients = clients_of(options.server or [DEFAULT_SERVER], options.header, request.timeout)
        plan = plan_of(request)
        edits = list(plan.edits)
        store = store_at(request.out)
        store.prepare()
    except (UsageError, OSError) as error:
        options.refuse(str(error))
    for note in plan.notes:
        tqdm.write(note)
    with Tally(len(edits), request.out) as tally:
        Batch(clients, Job(plan.template, store)).run(edits, tally.add)
    return tally.exit_status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `edit`."""
    add_options(parser)
    parser.add_argument(
        "--server", action="append", metavar="URL", help=f"default: {DEFAULT_SERVER}; several share the pictures"
    )
    add_header(parser)
