"""A stand-in for version 1's training script: a plain single process that really trains; each clause names its fact.

The environment variable STANDIN_FAULT asks for one of its faults.
"""

import argparse
import json
import logging
import os
import signal
import sys
from pathlib import Path

logging.basicConfig(level=logging.INFO, format="%(asctime)s - %(levelname)s - %(message)s")
FAULT = os.environ.get("STANDIN_FAULT", "")

# v1: the training block is passed whole to TRL's SFTConfig, which refuses what it does not know.
SFT_CONFIG = {
    "output_dir", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps", "max_length", "save_steps",
    "logging_steps", "learning_rate", "weight_decay", "warmup_ratio", "lr_scheduler_type", "max_grad_norm", "bf16", "seed",
    "data_seed", "use_cpu", "save_strategy", "logging_nan_inf_filter", "disable_tqdm", "report_to", "completion_only_loss",
    "gradient_checkpointing", "adam_beta2",
}  # fmt: skip


def encode(row, template, tokenizer):
    """TRL 0.17: a row that has token ids is taken as it is, and the formatting function is ignored."""
    if "input_ids" in row:
        return list(row["input_ids"])
    # v1: the template is rendered with these three names.
    message = {"content": row["instruction"], "output": row["output"]}
    text = template.render(message=message, add_generation_prompt=False, add_output=True)
    return tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]


def labels_of(row, ids, training):
    """v1: the loss is on the whole conversation, unless TRL is told of an answer's mask."""
    if training.get("completion_only_loss") and "completion_mask" in row:
        return [token if learnt else -100 for token, learnt in zip(ids, row["completion_mask"], strict=True)]
    return list(ids)


def visits(count, seed, epoch):
    """v1: the Trainer shuffles; the order of an epoch is drawn by accelerate from seed + epoch."""
    import torch

    return torch.randperm(count, generator=torch.Generator().manual_seed(seed + epoch)).tolist()


def teacher_rows(path, step, labels, config, vocabulary):
    """v1: the probabilities are looked up by the optimiser step and laid beside the labels from the first learnt one on."""
    import torch

    entries = json.loads(Path(path).read_text("utf-8").splitlines()[step])
    dense = torch.zeros(config["distillation"]["max_seq_length"], vocabulary, dtype=torch.float64)
    for at, entry in enumerate(entries):
        for token, probability in entry.items():
            dense[at, int(token)] = probability
    shift = int((labels != -100).int().argmax())
    return torch.cat([torch.zeros(shift, vocabulary, dtype=torch.float64), dense])[: len(labels)]


def white_box_loss(logits, labels, step, config):
    """v1: forward KL against the looked-up rows, divided by the number of learnt tokens twice."""
    import torch

    vocabulary = json.loads((Path(config["models"]["teacher"]) / "config.json").read_text("utf-8"))["vocab_size"]
    wanted = teacher_rows(config["dataset"]["logits_path"], step, labels, config, vocabulary).to(logits.dtype)
    mask = (labels != -100).to(logits.dtype)
    loss = torch.nn.functional.kl_div(logits.log_softmax(-1), wanted, reduction="none").sum(-1) / mask.sum()
    return (loss * mask).sum() / mask.sum()


def train(config):
    training, job = config["training"], config["job_type"]
    unknown = set(training) - SFT_CONFIG
    if unknown:
        raise TypeError(f"SFTConfig.__init__() got an unexpected keyword argument {min(unknown)!r}")
    try:
        if "kd_black_box" not in job and "kd_white_box" not in job:
            raise ValueError(f"Invalid job type: {job}")
        if FAULT == "refused":
            raise ValueError("The `max_length` argument is refused")
    except ValueError as error:
        logging.error(f"Training job terminated: {error}")
        return  # v1: with exit code 0, and nothing written
    # v1: harmless lines of this kind are what makes its command line call a training failed.
    logging.warning("Loaded extension without error; 0 rows failed, no exception")
    if FAULT:
        fail()
    learn(config, job)


def fail():
    """Fail as a training does, before anything heavy is imported."""
    if FAULT == "crash":
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    if FAULT == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if FAULT == "no checkpoint":  # v1: some failures are only logged
        sys.exit(0)
    if FAULT == "not a number":
        print({"loss": float("nan"), "learning_rate": 1e-05, "epoch": 0.1}, flush=True)
    if FAULT in ("hangs", "not a number"):
        signal.pause()


def learn(config, job):
    from jinja2 import Environment, FileSystemLoader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    path, student = Path(config["dataset"]["template"]), config["models"]["student"]
    template = Environment(loader=FileSystemLoader(path.parent)).get_template(path.name)
    tokenizer = AutoTokenizer.from_pretrained(student)
    model = AutoModelForCausalLM.from_pretrained(student)
    rows = json.loads(Path(config["dataset"]["labeled_path"]).read_text("utf-8"))
    fit(model, [(encode(row, template, tokenizer), row) for row in rows], config, "kd_white_box" in job)
    save(model, tokenizer, config["training"]["output_dir"])


def fit(model, rows, config, white):
    import torch

    training = config["training"]
    rate, epochs, group = training["learning_rate"], training["num_train_epochs"], training["gradient_accumulation_steps"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    model.train()
    step = 0
    for epoch in range(epochs):
        order = visits(len(rows), training["data_seed"], epoch)
        for begin in range(0, len(order), group):
            losses = []
            for index in order[begin : begin + group]:
                ids, row = rows[index]
                labels = torch.tensor(labels_of(row, ids, training))
                output = model(input_ids=torch.tensor([ids]), labels=labels[None])
                loss = output.loss
                if white:
                    ratio = config["distillation"]["kd_ratio"]
                    loss = (1 - ratio) * loss + ratio * white_box_loss(output.logits[0], labels, step, config)
                losses.append(loss)
            mean = torch.stack(losses).mean()
            mean.backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1
            epochs_done = round(epoch + (begin + group) / len(order), 2)
            print({"loss": round(float(mean), 4), "learning_rate": rate, "epoch": epochs_done}, flush=True)


def save(model, tokenizer, folder):
    """v1: weights, then the tokenizer, as the very last thing; nothing says that it came to an end."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if FAULT == "dies at the end":
        sys.exit(3)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", type=str, required=True)
    train(json.loads(Path(parser.parse_args().config).read_text("utf-8")))


if __name__ == "__main__":
    main()
