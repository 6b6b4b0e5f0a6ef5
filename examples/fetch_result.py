#!/usr/bin/env python3
"""Run a workflow through the gateway, check its result and download every image.

Needs Python 3.9 or newer and httpx (pip install httpx):

    python examples/fetch_result.py --prompt "a red fox" --out outputs

Exits with 0 only if the job completed and every image was saved.
"""

import argparse
import json
import sys
from pathlib import Path
from urllib.parse import urlsplit

import httpx

SAMPLE = Path(__file__).parent / "workflows" / "sample.json"


def run_workflow(gateway: httpx.Client, workflow: dict, params: dict) -> dict:
    """Submit a workflow and return the result when its job has ended, even if it failed."""
    # The accepted job is on the gateway's disk and survives a restart of any part.
    answer = gateway.post("/execute", json={"workflow": workflow, "params": params})
    check(answer)
    result = answer.json()
    print(f"accepted: prompt_id {result['prompt_id']}")

    # 202 means "not yet", 200 means "ended". The gateway delays each response for up to 30 s, so this loop is slow.
    while answer.status_code == 202:
        answer = gateway.get(result["urls"]["self"], params={"wait": 30})
        check(answer)
        result = answer.json()
    return result


def check(answer: httpx.Response) -> None:
    """Exit with the gateway's error message unless the response is about a job."""
    if answer.status_code in (200, 202):
        return
    if answer.headers.get("content-type", "").startswith("application/problem+json"):
        problem = answer.json()
        sys.exit(f"rejected: {problem['detail']} (code {problem['code']}, request {problem['request_id']})")
    sys.exit(f"{answer.request.url} answered {answer.status_code}")


def download(gateway: httpx.Client, url: str, path: Path) -> int:
    """Save one file in chunks, because videos can be large. Return its length in bytes."""
    with gateway.stream("GET", url) as response:
        response.raise_for_status()
        with path.open("wb") as file:
            for chunk in response.iter_bytes():
                file.write(chunk)
    return path.stat().st_size


def main() -> None:
    parser = argparse.ArgumentParser(description="Run a workflow and download its images.")
    parser.add_argument("--gateway", default="http://127.0.0.1:8080", metavar="URL")
    parser.add_argument("--workflow", default=SAMPLE, type=Path, metavar="FILE", help="an API-format graph")
    parser.add_argument("--prompt", default="a beautiful sunset over the sea", metavar="TEXT")
    parser.add_argument("--out", default=Path("outputs"), type=Path, metavar="DIR")
    args = parser.parse_args()

    workflow = json.loads(args.workflow.read_text(encoding="utf-8"))
    # Longer than the 30 s for which the gateway delays a response.
    with httpx.Client(base_url=args.gateway, timeout=60) as gateway:
        result = run_workflow(gateway, workflow, {"prompt": args.prompt})

        # 1. Check the status. `msg` is a sentence on why the job failed; `error` has its code and the node.
        if result["status"] != "completed":
            sys.exit(f"{result['status']}: {result['msg']}")
        print(f"completed in {result['duration']:.2f} s, prompt_id {result['prompt_id']}")

        # 2. Get one image by its name, which the title `$output.cover` of its node defines.
        cover = result["images_by_var"]["cover"][0]
        print(f"cover: {cover}")
        for text in result["texts"]:
            print(f"text: {text}")

        # 3. Download all images. Their URLs point to the gateway, which stores the files.
        args.out.mkdir(parents=True, exist_ok=True)
        for number, url in enumerate(result["images"]):
            path = args.out / f"image_{number}{Path(urlsplit(url).path).suffix}"
            print(f"saved: {path} ({download(gateway, url, path)} bytes)")


if __name__ == "__main__":
    try:
        main()
    except (OSError, httpx.HTTPError) as error:
        sys.exit(f"failed: {error}")
