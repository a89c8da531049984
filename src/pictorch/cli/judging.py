"""The commands that judge a run, and make and check its bundle."""

import argparse
import shlex

from pictorch.cli.output import console_of, print_evaluation, print_json, print_next
from pictorch.cli.parser import AddVerb


def add(verb: AddVerb) -> None:
    """Adds evaluate, export, import, verify and report."""
    evaluate = verb("evaluate", _evaluate, "judge a run or a bundle")
    evaluate.add_argument("source", metavar="RUN|BUNDLE")
    evaluate.add_argument("--split", default="val", help="val (default) or test, whose openings are counted")
    evaluate.add_argument(
        "--checkpoint", metavar="NAME", help="best, last or epoch-N (default: best, else last)"
    )
    evaluate.add_argument("--data", metavar="SOURCE", help="where the images lie now")
    evaluate.add_argument("--out", metavar="DIR", help="where a bundle's evaluation goes")
    add_views(evaluate)

    export = verb("export", _export, "write the bundle of a run, or another form of its model")
    export.add_argument("source", metavar="RUN|BUNDLE")
    export.add_argument(
        "--to", default="bundle", metavar="FORM",
        help="bundle (default), onnx, int8, web, mobile or triton; of a BUNDLE not bundle and mobile",
    )  # fmt: skip
    export.add_argument(
        "--checkpoint", metavar="NAME", help="best, last or epoch-N (default: best, else last)"
    )
    export.add_argument(
        "--out", metavar="DIR|FILE.zip", help="default: RUN/bundle, RUN/exported/FORM or BUNDLE-FORM"
    )
    export.add_argument("--data", metavar="SOURCE", help="where the images lie now")
    export.add_argument(
        "--views", default="none", metavar="SET", help="views that the graph averages: flip or flip_shift"
    )

    imported = verb("import", _import, "make a bundle of another framework's ONNX file")
    imported.add_argument("file", metavar="MODEL.onnx")
    imported.add_argument(
        "--classes", required=True, metavar="FILE", help="names of its outputs, a line each, or a .json list"
    )
    imported.add_argument(
        "--input-size", required=True, type=int, metavar="N", help="side of its square images in pixels"
    )
    imported.add_argument(
        "--pixels", default="0-1", metavar="RANGE", help="of the pixels that it takes: 0-1 (default) or 0-255"
    )
    for flag, does in (("--mean", "subtracted from pixels"), ("--std", "they are divided by it then")):
        imported.add_argument(
            flag, nargs="+", type=float, metavar="V", help=f"{does}: one for all channels, or one for each"
        )
    imported.add_argument("--layout", metavar="ORDER", help="nchw or nhwc, where its input does not tell")
    imported.add_argument(
        "--outputs", default="auto", metavar="KIND", help="logits or probabilities (default: by their values)"
    )
    imported.add_argument("--output", metavar="NAME", help="the output with the scores, of several")
    imported.add_argument(
        "--fit", default="crop", metavar="RULE", help="how images become square: crop, pad or stretch"
    )
    imported.add_argument("--data", metavar="SOURCE", help="images of its classes, to judge it on")
    imported.add_argument("--out", metavar="DIR|FILE.zip", help="default: MODEL-bundle")

    verify = verb("verify", _verify, "check a bundle's hashes and replay its golden samples")
    verify.add_argument("bundle", metavar="BUNDLE")

    report = verb("report", _report, "write the run's report as one HTML file")
    report.add_argument("run", metavar="RUN")


def add_views(command: argparse.ArgumentParser) -> None:
    """Adds the flags of views."""
    command.add_argument(
        "--views", default="none", metavar="SET", help="average the answers to views: flip or flip_shift"
    )
    command.add_argument(
        "--views-below", type=float, metavar="P", help="only of images whose top probability is below P"
    )


def _evaluate(args: argparse.Namespace) -> None:
    from pictorch.evaluation.evaluate import evaluate

    result = evaluate(
        args.source,
        split=args.split,
        checkpoint=args.checkpoint,
        data=args.data,
        out=args.out,
        views=args.views,
        views_below=args.views_below,
        console=console_of(args),
    )
    if args.json:
        return print_json(result.to_json())
    return print_evaluation(result)


def _export(args: argparse.Namespace) -> None:
    from pictorch.bundle import Bundle
    from pictorch.exporting.export import export

    made = export(
        args.source,
        to=args.to,
        checkpoint=args.checkpoint,
        out=args.out,
        data=args.data,
        views=args.views,
        console=console_of(args),
    )
    if args.json:
        return print_json(made.to_json())
    if isinstance(made, Bundle):
        against = "against PyTorch" if args.to == "bundle" else "against the model that it was made from"
        print(f"exported {made.path}: {len(made.class_names)} classes, verified {against}")
        path = shlex.quote(str(made.path))
        return print_next({f"verify {path}": "", f"predict {path} PATH...": "", f"serve {path}": ""})
    print("\n".join(made.in_words()))
    return None


def _import(args: argparse.Namespace) -> None:
    from pictorch.importing.imported import import_model

    made = import_model(
        args.file,
        classes=args.classes,
        input_size=args.input_size,
        mean=args.mean,
        std=args.std,
        layout=args.layout,
        pixels=args.pixels,
        outputs=args.outputs,
        output=args.output,
        fit=args.fit,
        data=args.data,
        out=args.out,
        console=console_of(args),
    )
    if args.json:
        return print_json(made.to_json())
    judged = made.facts.metrics.get("val")
    known = f"validation accuracy {judged['accuracy']:.2%}, n = {judged['n']:,}" if judged else "not judged"
    print(f"imported {made.path}: {len(made.class_names)} classes, verified against {args.file}; {known}")
    path = shlex.quote(str(made.path))
    judge = {} if judged else {f"evaluate {path} --data SOURCE --out DIR": ""}
    return print_next({f"predict {path} PATH...": "", **judge, f"serve {path}": ""})


def _verify(args: argparse.Namespace) -> None:
    from pictorch.predictor import verify

    result = verify(args.bundle)
    if args.json:
        return print_json(result.to_json())
    print(
        f"{args.bundle} is whole and answers as it did when it was made "
        f"({result.golden_n} golden samples, largest difference {result.largest_difference:.1e})"
    )
    return None


def _report(args: argparse.Namespace) -> None:
    from pictorch.reporting.report import report

    path = report(args.run)
    if args.json:
        return print_json({"report": str(path)})
    print(f"report written: {path}")
    return None
