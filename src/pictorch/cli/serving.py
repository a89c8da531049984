"""The command that serves a bundle."""

import argparse
import sys
from contextlib import nullcontext

from pictorch.cli.output import print_json
from pictorch.cli.parser import AddVerb


def add(verb: AddVerb) -> None:
    """Adds serve."""
    serve = verb("serve", _serve, "answer over HTTP, with a page to drop images on")
    serve.add_argument("source", metavar="RUN|BUNDLE")
    serve.add_argument("--host", default="127.0.0.1", help="address (default: this machine only)")
    serve.add_argument("--port", type=int, default=8000, help="default 8000; 0 takes a free one")
    serve.add_argument(
        "--max-body-mb", type=float, default=16.0, metavar="MB", help="size of a request (default 16)"
    )
    serve.add_argument(
        "--max-images", type=int, default=64, metavar="N", help="images of a request (default 64)"
    )
    serve.add_argument(
        "--max-in-flight", type=int, default=64, metavar="N",
        help="requests that are answered at a time; others get 503 (default 64)",
    )  # fmt: skip
    serve.add_argument(
        "--receive-seconds", type=float, default=10.0, metavar="S", help="time to send a request (default 10)"
    )


def _serve(args: argparse.Namespace) -> None:
    from pictorch.serving.access_log import log_to_stderr
    from pictorch.serving.limits import limits_of
    from pictorch.serving.process import listen

    limits = limits_of(args.max_body_mb, args.max_images, args.max_in_flight, args.receive_seconds)
    server = listen(args.source, args.host, args.port, limits)
    service = server.service
    if args.json:
        print_json({"url": server.url, "name": service.name, "version": service.version})
    else:
        print(f"serving {service.name} ({len(service.bundle.class_names)} classes) on {server.url}")
    sys.stdout.flush()
    with nullcontext() if args.quiet else log_to_stderr():
        server.run()
