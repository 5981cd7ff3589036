"""`python -m benchmarks TOPIC …` runs `benchmarks/TOPIC.py`, in one process; exit code 1 if a bound is missed."""

import argparse
import importlib
import pkgutil
import sys

import benchmarks

TOPICS = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_"))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Speed of the lessons against PyTorch's own layers.",
        epilog="Example: python -m benchmarks captioning",
    )
    parser.add_argument("topics", nargs="+", choices=TOPICS, metavar="TOPIC", help=", ".join(TOPICS))
    for topic in parser.parse_args().topics:
        print(f"# {topic}", flush=True)
        importlib.import_module(f"benchmarks.{topic}").main()
    bounded = [comparison for comparison in benchmarks.comparisons if comparison.bound is not None]
    missed = [comparison.label for comparison in bounded if comparison.missed]
    print(f"{len(bounded) - len(missed)} of {len(bounded)} bounds met. Missed: {'; '.join(missed) or 'none'}.")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
