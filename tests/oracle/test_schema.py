"""configs/recipe.schema.json against vqc's own recipe reader, with the jsonschema package as the judge.

The shipped recipes and one with every key must pass both. Then every value of theirs is replaced by wrong
and right ones and every key misspelt or removed: schema and vqc must agree on each, but for rules between
keys ("has no effect with ..."), which a schema does not know. Prints "N passed, N failed"; exit code 1 when
something failed.
"""

import copy
import glob
import json
import os
import re
import subprocess
import sys
import tempfile

import jsonschema
import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = ["tests/oracle/recipe_check.c", *sorted(glob.glob("formats/recipe_yaml*.c", root_dir=ROOT)),
           "core/recipe.c", "core/prune/prune_options.c", "core/data/samples_request.c", "core/error.c", "core/memory.c"]
# Problems that come from one key's value against another's, or from inside a glob or a pattern.
BETWEEN_KEYS = re.compile(r"has no effect|pattern: matmul_nbits|activations: (?:dynamic|static) takes|activations: dynamic|expected at least min_elements|"
                          r"of shape; remove it|prune\.pattern: got .*, expected unstructured|prune\.block: got .*, expected two sizes|match\.name: got .*: a |an operator's exact name")
VALUES = [None, True, "zzz", "", "int", "*", 0, 1, 2, 3, 8, 60, -1, 0.5, 1000, [], ["a"], [1], [[]], [-1], {}, {"zzz": 1}]
EVERY_KEY = {
    "version": 1,
    "target": {"operators": "onnxruntime", "objective": "speed"},
    "weights": {"codec": "int", "bits": 8, "granularity": "block", "block_size": 64, "symmetric": False,
                "range": "percentile", "percentile": 99.5, "min_elements": 100, "reduce_range": True,
                "pattern": "matmul_nbits"},
    "activations": "none",
    "layers": [{"match": {"name": ["*.w", 12], "op": "Conv", "min_elements": 5, "max_elements": 9, "rank": 4,
                          "shape": [64, "*", 3, 3], "first": 2, "last": 3},
                "codec": "int", "bits": 8, "granularity": "channel", "pattern": "auto", "activations": "dynamic"},
               {"match": {"name": "x", "op": ["Gemm", "com.microsoft.Attention"]}, "codec": "keep"}],
    "calibrate": {},
    "prune": {"sparsity": 0.5, "pattern": "block", "block": [4, 2], "score": "obs", "scope": "global",
              "compensate": "off", "target": {"output_sqnr_db": 20}},
    "gates": {"max_size_ratio": 0.3, "min_weight_sqnr_db": 25, "on_miss": "remove_file",
              "per_layer": {"max_size_ratio": 0.5, "min_weight_sqnr_db": 15}},
    "report": {"sort": "error", "top": 7, "file": "r.json"},
}


def build_tool(folder):
    tool = os.path.join(folder, "recipe_check")
    subprocess.run([os.environ.get("CC", "cc"), "-std=c17", "-D_GNU_SOURCE", "-O1", "-I.", *SOURCES, "-o", tool,
                    "-lyaml", "-lm"], cwd=ROOT, check=True)
    return tool


def paths_in(value, path=()):
    """Every place in nested dicts and lists, the root left out."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield path + (key,)
        if isinstance(item, (dict, list)):
            yield from paths_in(item, path + (key,))


def parent_of(recipe, path):
    for key in path[:-1]:
        recipe = recipe[key]
    return recipe


def mutations(recipe):
    """(what was done, the recipe after it)"""
    for path in paths_in(recipe):
        for value in VALUES:
            mutant = copy.deepcopy(recipe)
            parent_of(mutant, path)[path[-1]] = value
            yield f"{path} = {json.dumps(value)}", mutant
        mutant = copy.deepcopy(recipe)
        removed = parent_of(mutant, path).pop(path[-1])
        yield f"{path} removed", mutant
        if isinstance(path[-1], str):
            mutant = copy.deepcopy(mutant)
            parent_of(mutant, path)[path[-1] + "x"] = removed
            yield f"{path} misspelt", mutant


def read_with_vqc(tool, files):
    """The problems that vqc finds in each file."""
    done = subprocess.run([tool, *files], capture_output=True, text=True, check=True)
    lines = iter(done.stdout.splitlines())
    problems = {}
    for line in lines:
        name, count = line.rsplit(" ", 1)
        problems[name] = [next(lines) for _ in range(int(count))]
    return problems


def main():
    with open(os.path.join(ROOT, "configs", "recipe.schema.json"), encoding="utf-8") as file:
        schema = json.load(file)
    jsonschema.Draft7Validator.check_schema(schema)
    validator = jsonschema.Draft7Validator(schema)
    cases = [("every key", EVERY_KEY)]
    for path in sorted(glob.glob(os.path.join(ROOT, "configs", "*.yaml"))):
        with open(path, encoding="utf-8") as file:
            first = file.readline()
            file.seek(0)
            cases.append((os.path.basename(path), yaml.safe_load(file)))
        assert first == "# yaml-language-server: $schema=recipe.schema.json\n", path
    assert len(cases) >= 6, "no recipes in configs/"
    good = len(cases)
    for name, recipe in list(cases):
        cases += [(f"{name}: {what}", mutant) for what, mutant in mutations(recipe)]

    passed = failed = rejected = 0
    with tempfile.TemporaryDirectory() as folder:
        tool = build_tool(folder)
        files = []
        for i, (_, recipe) in enumerate(cases):
            files.append(os.path.join(folder, f"{i}.yaml"))
            with open(files[-1], "w", encoding="utf-8") as file:
                json.dump(recipe, file)
        problems = {}
        for i in range(0, len(files), 500):
            problems.update(read_with_vqc(tool, files[i:i + 500]))
    for i, (name, recipe) in enumerate(cases):
        by_schema = [error.message for error in validator.iter_errors(recipe)]
        by_vqc = [line for line in problems[files[i]] if not BETWEEN_KEYS.search(line)]
        rejected += bool(by_schema)
        if bool(by_schema) == bool(by_vqc) and (i >= good or not problems[files[i]]):
            passed += 1
        else:
            failed += 1
            print(f"FAIL {name}\n  schema: {by_schema[:2] or 'fine'}\n  vqc: {problems[files[i]][:2] or 'fine'}")
    if not 0.2 * len(cases) < rejected < 0.9 * len(cases):
        failed += 1
        print(f"FAIL the schema rejects {rejected} of {len(cases)}: the mutations show nothing")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
