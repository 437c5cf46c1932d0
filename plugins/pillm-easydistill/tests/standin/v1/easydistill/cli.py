"""A stand-in for version 1's command line; each clause names the fact that it reproduces."""

import argparse
import json
import logging
import subprocess
import sys
from pathlib import Path

logging.basicConfig(level=logging.INFO, format="%(asctime)s - %(levelname)s - %(message)s")

script_dir = Path(__file__).resolve().parent

# v1: a missing comma merges two keywords, and any line with one of the others, whatever it says, is a failure.
KEYWORDS = ["ERROR", "Error", "errorUnrecognized model", "failed", "exception", "Traceback"]


def run_cmd(command):
    # v1: a shell string, so paths with spaces break it.
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, shell=True, text=True)
    detected = False
    for line in child.stdout:
        logging.info(line.rstrip())
        if any(keyword.lower() in line.lower() for keyword in KEYWORDS):
            detected = True
            logging.error(f"Detected error in output: {line.strip()}")
    code = child.wait()
    if detected or code != 0:
        logging.error(f"Command failed (returncode={code}, errors detected)")
        return False
    return True


def process(job_type, config):
    if not Path(config).is_absolute():
        config = script_dir / config  # v1: a relative configuration is resolved against the package
    if job_type in ("kd_black_box_train_only", "kd_white_box_train_only"):
        settings = script_dir.parent / "configs/accelerate_config/muti_gpu.yaml"
        script = script_dir / "kd/train.py"
        run_cmd(f"accelerate launch --config_file {settings} {script} --config {config}")  # v1: what it returns is ignored
    else:
        logging.error(f"Unknown job type: {job_type}")
        sys.exit(1)  # v1: an unknown job is the only thing that ends with another exit code than 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=str, required=True)  # v1: the only flag, and required
    path = parser.parse_args().config
    config = json.loads(Path(path).read_text("utf-8"))
    process(config["job_type"], path)


if __name__ == "__main__":
    main()
