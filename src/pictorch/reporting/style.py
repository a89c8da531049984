"""The page's style sheet: plain, light or dark as the reader's system is, narrow enough for a phone."""

from pictorch.markup import Markup

STYLE = Markup("""
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f5f6f8; --ink: #1b1f24; --quiet: #59636e; --rule: #d6dae0;
  --first: #1f5fd0; --second: #c2410c; --faint: #8aa9e0; --mark: #fff1b8; --note: #fff7e0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --panel: #1d2127; --ink: #e6e9ed; --quiet: #9aa4af; --rule: #343b44;
    --first: #7aa8ff; --second: #ff9d5c; --faint: #4f70b0; --mark: #5c4a00; --note: #2b2716;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Noto Sans", "PingFang SC", "Microsoft YaHei",
    "Noto Sans CJK SC", sans-serif;
}
main { max-width: 72rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0; }
h2 {
  font-size: 1.25rem; margin: 2.75rem 0 .75rem; padding-bottom: .3rem;
  border-bottom: 1px solid var(--rule);
}
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
p { margin: .5rem 0; max-width: 46rem; }
a { color: var(--first); }
code { font: .9em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
mark { background: var(--mark); color: inherit; padding: 0 .25em; border-radius: 3px; font-weight: 600; }
p.facts { color: var(--quiet); margin-top: .25rem; max-width: none; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin-top: 1rem; font-size: .9rem; }
.missing { background: var(--note); padding: .5rem .75rem; border-radius: 6px; }
.note, .key, figcaption { color: var(--quiet); font-size: .85rem; }

dl.numbers {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .75rem;
  margin: 1rem 0;
}
dl.numbers > div { background: var(--panel); padding: .75rem 1rem; border-radius: 6px; }
dl.numbers > .main { grid-column: span 2; }
dl.numbers > .main .value { font-size: 2.25rem; }
dl.numbers dt { color: var(--quiet); font-size: .85rem; }
dl.numbers dd { margin: 0; }
dl.numbers span { display: block; }
.value { font-size: 1.35rem; font-weight: 600; line-height: 1.3; font-variant-numeric: tabular-nums; }
dl.facts {
  display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0 1rem;
  font-size: .9rem;
}
dl.facts dt { color: var(--quiet); }
dl.facts dd { margin: 0; min-width: 0; }

.charts {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr));
  gap: 1.5rem;
}
figure { margin: 0; min-width: 0; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--quiet); font-size: 12px; font-variant-numeric: tabular-nums; }
svg .grid { stroke: var(--rule); stroke-width: 1; }
svg .axis { stroke: var(--quiet); stroke-width: 1; }
svg .mark { stroke: var(--quiet); stroke-width: 1; stroke-dasharray: 2 3; }
svg .line path { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .first path { stroke: var(--first); }
svg .first circle { fill: var(--first); }
svg .second path { stroke: var(--second); stroke-dasharray: 6 3; }
svg .second circle { fill: var(--second); }
svg .faint path { stroke: var(--faint); stroke-width: 1; }
svg .faint circle { fill: var(--faint); }
.chart figcaption strong { color: var(--ink); font-size: .95rem; }
.legend { display: flex; flex-wrap: wrap; gap: 0 1rem; }
.swatch {
  display: inline-block; width: 1.5rem; margin-right: .4rem; vertical-align: middle;
  border-top: 2px solid var(--first);
}
.swatch.second { border-top: 2px dashed var(--second); }
.swatch.faint { border-top: 1px solid var(--faint); }

.box {
  overflow: auto; max-height: 34rem; max-width: 100%; width: fit-content;
  border: 1px solid var(--rule); border-radius: 6px;
}
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; text-align: left; vertical-align: top; overflow-wrap: normal; }
th { font-weight: 600; }
tbody th {
  font-weight: 500; white-space: nowrap; max-width: 18rem; overflow: hidden;
  text-overflow: ellipsis;
}
thead th { position: sticky; top: 0; z-index: 1; background: var(--panel); white-space: nowrap; }
tbody tr + tr > *, tfoot tr > * { border-top: 1px solid var(--rule); }
tfoot tr > * { font-weight: 600; background: var(--panel); }
.number { text-align: right; white-space: nowrap; }
#recipe td:last-child { min-width: 26rem; }
#environment td:last-child { min-width: 15rem; }
.best { color: var(--first); font-weight: 600; }

.confusion th, .confusion td { padding: .3rem .4rem; }
.confusion td { text-align: center; min-width: 2.6rem; }
.confusion thead th { vertical-align: bottom; text-align: center; }
.confusion thead .long {
  writing-mode: vertical-rl; max-height: 9rem; overflow: hidden;
  text-overflow: ellipsis;
}
.confusion th:first-child { position: sticky; left: 0; z-index: 1; background: var(--panel); }
.confusion thead th:first-child { z-index: 2; text-align: left; font-weight: 400; color: var(--quiet); }
.confusion .right { background: rgb(37 99 235 / calc(var(--depth) * .75)); }
.confusion .wrong { background: rgb(220 38 38 / calc(var(--depth) * .7)); }
.matrix { display: block; width: 33rem; image-rendering: pixelated; }

.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(8rem, 1fr)); gap: 1rem; }
.pictures.pairs { grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); }
.pictures figure > div { display: flex; gap: .25rem; }
.pictures img { display: block; object-fit: contain; background: var(--panel); border-radius: 3px; }
.pictures .small { image-rendering: pixelated; }
.pictures figcaption { margin-top: .25rem; line-height: 1.35; }
.pictures figcaption span { display: block; }
.pictures figcaption b { color: var(--ink); font-weight: 600; }
@media (max-width: 30rem) {
  dl.numbers { grid-template-columns: 1fr 1fr; gap: .5rem; }
  .pictures { grid-template-columns: repeat(auto-fill, minmax(6.5rem, 1fr)); }
  .pictures.pairs { grid-template-columns: repeat(auto-fill, minmax(10.25rem, 1fr)); gap: .75rem .5rem; }
  .pairs img { width: 5rem; height: 5rem; }
  th, td { padding: .3rem .45rem; }
  dl.facts { grid-template-columns: 1fr; gap: 0; }
  dl.facts dd { margin-bottom: .5rem; }
}
@media print { .box { max-height: none; overflow: visible; } nav { display: none; } }
""")
