import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { htmlText } from "./html-text.ts";

const url = "https://example.com/a/b";

for (const [html, text] of [
  ["<p>One</p><p>two <b>three</b></p>", "One\n\ntwo three"],
  ["<h2>Head</h2>text<br>line", "## Head\n\ntext\nline"],
  ["<ul><li>a<li>b</ul>c", "- a\n- b\n\nc"],
  ['<a href="../x?y=1&amp;z">go</a> on', "[go](https://example.com/x?y=1&z) on"],
  ['<a href="javascript:alert(1)">go</a> <a href=#top>up</a>', "go up"],
  ["a<script>if (a < b) document.write('</p>')</script>b", "ab"],
  ["a<style>p > b {}</style><!-- no <p> -->b", "ab"],
  ["<head><title>T</title><meta x></head><body>text", "text"],
  ["<pre>  a\n   b</pre>c", "a\n   b\n\nc"],
  ["1 < 2 &amp;&lt;b&gt; &#233;&#x1F600;&unknown; &#0;", "1 < 2 &<b> é😀&unknown; \ufffd"],
  ["<table><tr><td>1</td><td>2</td></tr><tr><td>3</td></tr></table>", "1 | 2 |\n3 |"],
  ['<p title="a > b">text</p>', "text"],
  ['<p title="never ended>text</p>', "text"],
  ["<svg><text>no</text></svg>yes<svg/>too", "yestoo"],
  ["text<script>never ended", "text"],
  ["text<!-- never ended", "text"],
  ["", ""],
] as const)
  test(`The text of ${JSON.stringify(html).slice(0, 60)} is what a reader sees`, () => assert.equal(htmlText(html, url).text, text));

test("The title is read once", () => assert.equal(htmlText("<title> A\n&amp; B </title><title>C</title>", url).title, "A & B"));

test("Whatever the page is, its text comes, and no script of it", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.constantFrom(
          "<",
          ">",
          "</",
          "<p>",
          "<script>",
          "</script>",
          "<a href='x'>",
          "</a>",
          '"',
          "'",
          "=",
          "<!--",
          "-->",
          "&#",
          "x",
          "<pre>",
        ),
      ),
      (parts) => {
        assert.equal(typeof htmlText(parts.join(""), url).text, "string");
      },
    ),
  );
});

for (const part of ["<", "<!--", "</script", "<a href='", '<p a="', "&", "<title>", "<svg>", "<script>", "<p a='>", "<p>", "<a href=x>"])
  test(`3 MB of ${JSON.stringify(part)} take no more than a pass each`, { timeout: 20_000 }, () => {
    assert.equal(typeof htmlText(part.repeat(Math.floor(3_000_000 / part.length)), url).text, "string");
  });
