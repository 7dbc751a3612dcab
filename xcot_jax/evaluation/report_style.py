"""The style sheet of a report's page: light and dark, wide and narrow, printed too."""

# Font names after system-ui are those of the scripts a system font may lack.
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1f2933; --faint: #5a6673;
        --line: #e4e7eb; --shade: #f5f7fa; --accent: #0067a3; --note: #fff6e0; --note-edge: #e69f00;
        --right: #00664a; --right-paper: #e2f5ee; --wrong: #a33a00; --wrong-paper: #fdece3;
        --mark: #ffe08a; --mark-ink: #1f2933; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15181c; --ink: #e8ebee; --faint: #9aa5b1; --line: #2e353d; --shade: #1d2227;
          --accent: #6cbcf0; --note: #2b2412; --note-edge: #b98600;
          --right: #6fd8b1; --right-paper: #12302a; --wrong: #ffab7d; --wrong-paper: #3a2013;
          --mark: #806000; --mark-ink: #fff; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 3.5rem; }
body { margin: 0; background: var(--paper); color: var(--ink);
       font: 16px/1.55 system-ui, "Noto Sans", "Noto Sans Thai", "Noto Sans Telugu",
             "Noto Sans Bengali", "Noto Sans CJK SC", "Noto Sans CJK JP", sans-serif; }
:lang(ja) { font-family: system-ui, "Noto Sans CJK JP", "Noto Sans JP", sans-serif; }
:lang(zh) { font-family: system-ui, "Noto Sans CJK SC", "Noto Sans SC", sans-serif; }
header, main { max-width: 78rem; margin: 0 auto; padding: 0 1.5rem; }
header { padding-top: 2.2rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.35rem; margin: 3rem 0 1rem; padding-top: 1.2rem;
     border-top: 1px solid var(--line); }
section:first-of-type h2 { border-top: 0; margin-top: 0; }
h3 { font-size: 1.05rem; margin: 2.2rem 0 .6rem; }
h4 { font-size: 1rem; margin: 0; font-weight: 600; }
p { margin: .5rem 0; }
a { color: var(--accent); }
nav { position: sticky; top: 0; z-index: 2; background: var(--paper);
      border-bottom: 1px solid var(--line); margin-top: 1.2rem; overflow-x: auto; }
nav ul { display: flex; gap: 1.4rem; max-width: 78rem; margin: 0 auto; padding: .65rem 1.5rem;
         list-style: none; white-space: nowrap; }
nav a { text-decoration: none; font-size: .92rem; }
nav a:hover { text-decoration: underline; }
.picture { overflow-x: auto; margin: 1.2rem 0; }
.picture img { display: block; max-width: 100%; height: auto; }
.small, .lead { color: var(--faint); }
.small { font-size: .88rem; max-width: 62rem; }
.note { background: var(--note); border-left: 4px solid var(--note-edge); padding: .5rem 1rem;
        border-radius: 0 4px 4px 0; overflow-wrap: anywhere; }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); }
.card { background: var(--shade); border: 1px solid var(--line); border-radius: 8px;
        padding: .8rem 1rem; }
.card b { display: block; font-size: 1.6rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.card span { color: var(--faint); font-size: .88rem; }
.wide { overflow-x: auto; border: 1px solid var(--line); border-radius: 8px; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums;
        width: 100%; }
th, td { padding: .4rem .7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0;
                                 background: var(--paper); }
thead th { border-bottom: 1px solid var(--line); color: var(--faint); font-weight: 600; }
tbody tr + tr td { border-top: 1px solid var(--line); }
tbody td:first-child { font-weight: 600; }
.difference td { color: var(--faint); font-style: italic; }
summary { cursor: pointer; margin: 1.6rem 0 .6rem; font-weight: 600; font-size: 1.05rem; }
.problem { border: 1px solid var(--line); border-radius: 8px; margin: 1rem 0; padding: 0 1rem; }
.problem > summary { margin: .8rem 0; font-size: 1rem; }
.problem > summary small { color: var(--faint); font-weight: 400; }
.asked { display: grid; gap: .8rem; padding: 1rem 0; border-top: 1px solid var(--line);
         grid-template-columns: minmax(11rem, 1fr) repeat(var(--methods), minmax(0, 1.3fr)); }
.asked > div { min-width: 0; overflow-wrap: anywhere; font-size: .9rem; }
.code { color: var(--faint); font-size: .8rem; font-weight: 600; }
.said { background: var(--shade); border-radius: 6px; padding: .55rem .7rem; }
.said pre { margin: .35rem 0 0; font: inherit; white-space: pre-wrap; overflow-wrap: anywhere;
            max-height: 14rem; overflow-y: auto; }
.said i { color: var(--faint); display: block; margin-top: .35rem; }
.tag { display: inline-block; border-radius: 999px; padding: 0 .55rem; font-size: .8rem;
       font-weight: 600; }
.right { background: var(--right-paper); color: var(--right); }
.wrong, .cut { background: var(--wrong-paper); color: var(--wrong); }
mark { background: var(--mark); color: var(--mark-ink); border-radius: 3px; padding: 0 .12em; }
footer { color: var(--faint); font-size: .85rem; padding: 2rem 0 3rem; }
@media (max-width: 48rem) {
  header, main { padding: 0 1rem; }
  header { padding-top: 1.4rem; }
  nav ul { padding: .65rem 1rem; }
  .picture img { max-width: none; width: max(100%, 42rem); }
  th:first-child, td:first-child { white-space: normal; min-width: 9rem; }
  .asked { grid-template-columns: minmax(0, 1fr); } }
@media print { nav { display: none; } .wide { overflow: visible; } }
"""
