"""The page of a rating sheet: its words, its looks and its little script."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root { color-scheme: light; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 1500px;
  padding: 0 16px 96px; color: #1a1a1a; background: #f6f6f4; }
h1 { font-size: 24px; } h2 { font: 600 15px ui-monospace, monospace; margin: 0 0 8px; }
table { border-collapse: collapse; } th, td { text-align: left; padding: 2px 14px 2px 0;
  vertical-align: top; } th { white-space: nowrap; }
.guide { display: flex; flex-wrap: wrap; gap: 8px 48px; } .guide > div { max-width: 640px; }
section { background: #fff; border: 1px solid #ddd; border-left: 6px solid #bbb;
  border-radius: 6px; padding: 14px; margin: 18px 0; }
section.rated { border-left-color: #2a7d46; }
img { max-width: 100%; height: auto; display: block; min-height: 120px; }
fieldset { border: 0; margin: 10px 0 6px; padding: 0; display: flex; flex-wrap: wrap; gap: 6px; }
legend { float: left; margin-right: 10px; line-height: 38px; }
label { display: inline-flex; align-items: center; gap: 5px; min-width: 44px; height: 38px;
  padding: 0 8px; border: 1px solid #bbb; border-radius: 5px; cursor: pointer; }
label:has(input:checked) { background: #dcefe2; border-color: #2a7d46; font-weight: 600; }
.comment { width: min(100%, 640px); padding: 7px; font: inherit; box-sizing: border-box; }
#bar { position: fixed; left: 0; right: 0; bottom: 0; background: #1f2a33; color: #fff;
  padding: 10px 24px; display: flex; gap: 20px; align-items: center; flex-wrap: wrap; }
#bar button { font: inherit; padding: 7px 14px; cursor: pointer; }
@media print { #bar { display: none; } section { break-inside: avoid; } }
"""

SCRIPT: Final = """
(function () {
  "use strict";
  var study = document.body.dataset.study, sections = [].slice.call(
    document.querySelectorAll("section[data-job]")), kept = {};
  try { kept = JSON.parse(localStorage.getItem(study)) || {}; } catch (error) { kept = {}; }
  var status = document.getElementById("status"), bar = document.getElementById("bar");
  function answer(section) {
    var chosen = section.querySelector("input[type=radio]:checked");
    return { rating: chosen ? chosen.value : "",
      comment: section.querySelector(".comment").value };
  }
  function show() {
    var done = 0;
    sections.forEach(function (section) {
      var rated = answer(section).rating !== "";
      section.classList.toggle("rated", rated);
      done += rated ? 1 : 0;
    });
    status.textContent = done + " of " + sections.length + " rated";
  }
  function cell(text) {
    // A spreadsheet takes a text that begins like a formula for one.
    if (/^[=+\\-@\\t\\r]/.test(text)) { text = "'" + text; }
    return /[",;\\r\\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
  }
  sections.forEach(function (section) {
    var before = kept[section.dataset.job];
    if (before) {
      section.querySelector(".comment").value = String(before.comment || "");
      [].forEach.call(section.querySelectorAll("input[type=radio]"), function (input) {
        input.checked = input.value === String(before.rating);
      });
    }
    section.addEventListener("input", function () {
      kept[section.dataset.job] = answer(section);
      try { localStorage.setItem(study, JSON.stringify(kept)); } catch (error) {
        document.getElementById("memory").hidden = false;
      }
      show();
    });
  });
  document.getElementById("next").addEventListener("click", function () {
    var open = sections.filter(function (each) { return !each.classList.contains("rated"); })[0];
    if (open) { open.scrollIntoView(); }
  });
  document.getElementById("save").addEventListener("click", function () {
    var lines = sections.map(function (section) {
      var given = answer(section);
      return [section.dataset.job, given.rating, cell(given.comment)].join(",");
    });
    var text = "\\ufeff" + ["job,rating,comment"].concat(lines).join("\\r\\n") + "\\r\\n";
    var link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    link.download = "ratings.csv";
    link.click();
  });
  bar.hidden = false;
  show();
})();
"""

PAGE: Final = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Rating masks</title>
<style>{style}</style>
</head>
<body data-study="{study}">
<h1>Rating masks: {count} jobs</h1>
<p>Each job shows one mask. Give it a number from 1 to 10. Whose masks they are is hidden. About
half a minute per job is enough. Judge each one by itself.</p>
<div class="guide">
<div><h3>The scale</h3><table>{scale}</table></div>
<div><h3>What to look at</h3><ul>{criteria}</ul></div>
</div>
<p>Above in each job: the image, the mask on it in orange, the mask alone in white. Below: two
close-ups, the second one with the outline of the mask in yellow. What the mask was asked for with
is drawn in blue and white.</p>
<p>When you are done, press <i>Save</i> below and send the file. Where there is no such bar, write
the numbers into <code>ratings.csv</code> beside this page. <span id="memory" hidden><b>This browser
forgets the ratings when the page is closed: save them before.</b></span></p>
<main>
{jobs}
</main>
<div id="bar" hidden><span id="status"></span><button id="next" type="button">Next open job</button>
<button id="save" type="button">Save ratings.csv</button></div>
<script>{script}</script>
</body>
</html>
"""
