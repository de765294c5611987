"""Writes every golden file anew, or compares the stored ones with fresh ones.

    python reference/run_all.py            write reference/golden/*.json
    python reference/run_all.py --check    compare, relative difference at most 1e-9; exit status 1 if any differs
"""

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
PROGRAMS = [
    "layers", "sasrec", "losses", "adapter", "peterrec", "lora", "ia3", "prefix", "pals", "k_adapter", "star",
    "intercept", "random_effects", "stack", "film", "gating_film", "epnet", "ppnet", "request_set", "request_norm", "rare_ids", "maml", "cavia",
    "meta_embedding", "mwuf", "bayes_head",
    "acclimate_user", "deepfm", "dcn", "din", "multi_domain", "joint", "distillation", "coral", "group_dro",
    "optim", "metrics", "class_floors", "user_model", "deep_kernel", "metacs", "paml", "bridge", "fresh",
    "acclimate_item", "dropoutnet", "spread", "prior_shift", "hyperformer", "tanp",
    "partitioned_norm", "conditional_batch_norm",
    "conditional_layer_norm", "dynamic_instance_norm", "support_steps", "plan",
]
TOLERANCE = 1e-9


def differences(stored, fresh, path=""):
    """Paths at which two JSON values differ."""
    if isinstance(stored, dict) and isinstance(fresh, dict) and stored.keys() == fresh.keys():
        for key in stored:
            yield from differences(stored[key], fresh[key], f"{path}/{key}")
    elif isinstance(stored, list) and isinstance(fresh, list) and len(stored) == len(fresh):
        for i, (a, b) in enumerate(zip(stored, fresh)):
            yield from differences(a, b, f"{path}/{a['name'] if isinstance(a, dict) and 'name' in a else i}")
    elif isinstance(stored, float) and isinstance(fresh, float):
        if not math.isclose(stored, fresh, rel_tol=TOLERANCE, abs_tol=TOLERANCE):
            yield f"{path}: {stored} stored, {fresh} now"
    elif stored != fresh:
        yield f"{path}: differs"


def generate(folder):
    """Runs the programs that lie in `folder`; each writes into `folder/golden`."""
    (folder / "golden").mkdir(exist_ok=True)
    for program in PROGRAMS:
        subprocess.run([sys.executable, str(folder / f"{program}.py")], check=True)


def check():
    """Number of stored files that differ from those that a copy of the programs writes now."""
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        for program in HERE.glob("*.py"):
            shutil.copy(program, copy)
        generate(copy)
        for program in PROGRAMS:
            stored, fresh = (json.loads((folder / "golden" / f"{program}.json").read_text()) for folder in (HERE, copy))
            found = list(differences(stored, fresh))
            wrong += bool(found)
            for line in found[:10]:
                print(f"{program}.json{line}", file=sys.stderr)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if parser.parse_args().check:
        sys.exit(1 if check() else 0)
    generate(HERE)


if __name__ == "__main__":
    main()
