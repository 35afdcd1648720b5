/** `mmdump report` shows an image as a page for a browser. */
import { readFile } from 'node:fs/promises';
import { MmdumpError, reasonOf } from '../../shared/errors.ts';
import { formatBytes } from '../../shared/human-units.ts';
import { openImage } from '../image/image.ts';
import { imageReport } from '../report/html.ts';
import { writeText } from '../report/write-text.ts';
import { EXIT } from './run-command.ts';
import { shownId } from './shown-id.ts';
import { type OutputOptions, print, printJson } from './terminal.ts';

export interface ReportFlags extends OutputOptions {
  readonly output?: string;
  readonly run?: string;
  readonly embed?: number;
  readonly force?: boolean;
}

export async function reportCommand(
  path: string,
  flags: ReportFlags,
  signal: AbortSignal,
): Promise<number> {
  const { output = `${path}.html`, embed = 0, force = false } = flags;
  const run = flags.run === undefined ? undefined : await readRun(flags.run);
  const image = await openImage(path, { signal });
  try {
    const html = await imageReport(image, { run, embedBytes: embed, signal });
    await writeText(output, html, force, signal);
    const bytes = Buffer.byteLength(html);
    if (flags.json === true) printJson({ image: { path, id: shownId(image) }, output, bytes });
    else if (flags.quiet !== true) print(`${output}: ${formatBytes(bytes)}, open it in a browser`);
  } finally {
    await image.close();
  }
  return EXIT.DONE;
}

async function readRun(path: string): Promise<object> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as object;
  } catch (error) {
    throw new MmdumpError('OPTION_INVALID', `run: ${path} cannot be read: ${reasonOf(error)}`);
  }
}
