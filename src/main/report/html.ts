/** The report of an image as one page that needs nothing else, and no network. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import {
  abortSignal,
  anyObject,
  instanceOf,
  optional,
  wholeNumber,
} from '../../shared/arguments/checks.ts';
import { optionsOf, type Shape } from '../../shared/arguments/options.ts';
import type { ReportData, ReportRun } from '../../shared/report/report-data.ts';
import { Image } from '../image/image.ts';
import { reportPageUrl } from '../package/places.ts';
import { reportData } from './report-data.ts';
import { runOf } from './report-run.ts';

/** Options of `imageReport`. */
export interface ReportOptions {
  /** What `dump --json` printed when it made the image: the report then shows how the dump went. */
  readonly run?: object | undefined;
  /** Most bytes of pages that the report contains, so that it can show them. Default 0. */
  readonly embedBytes?: number | undefined;
  /** Stops the work: AbortError. Default: no signal. */
  readonly signal?: AbortSignal | undefined;
}

const REPORT_OPTIONS: Shape<ReportOptions> = {
  run: optional(anyObject),
  embedBytes: optional(wholeNumber(0)),
  signal: optional(abortSignal),
};

/**
 * Makes a page in HTML that shows an image: a map of its address spaces that can be zoomed down to
 * the page, its mappings, what the mms share, and where everything lies in the file. It holds no
 * bytes of pages unless `embedBytes` is given. OPTION_INVALID for a `run` that is not of this image.
 * It also rejects with AbortError, IMAGE_CLOSED, and, for embedded pages, as `Image.read` does.
 */
export async function imageReport(image: Image, options: ReportOptions = {}): Promise<string> {
  instanceOf(Image, 'an Image')('image', image);
  const { run, embedBytes = 0, signal } = optionsOf('imageReport', options, REPORT_OPTIONS);
  const shown: ReportRun | null = run === undefined ? null : runOf(run, image.id);
  const name = image.path === null ? 'image in memory' : basename(image.path);
  return pageOf(await reportData(image, name, shown, embedBytes, signal));
}

/**
 * Puts the data into the page. No text of it is markup: the data is one block of JSON without `<`,
 * and the policy allows no script but the one whose digest it has.
 */
function pageOf(data: ReportData): string {
  const script = readFileSync(reportPageUrl('page.js'), 'utf8').trim();
  const style = readFileSync(reportPageUrl('page.css'), 'utf8').trim();
  const digest = createHash('sha256').update(script).digest('base64');
  const policy = `default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-${digest}'`;
  const json = JSON.stringify(data).replaceAll('<', '\\u003c');
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>mmdump report</title>
<style>${style}</style>
</head>
<body>
<noscript>This report needs JavaScript, which it contains.</noscript>
<script type="application/json" id="data">${json}</script>
<script>${script}</script>
</body>
</html>
`;
}
