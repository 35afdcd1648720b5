/** `mmdump convert --format` writes an image or a core file in another format. */
import { MmdumpError } from '../../shared/errors.ts';
import { formatBytes, formatMs } from '../../shared/human-units.ts';
import type { ImageFormat } from '../dump/options.ts';
import type { DumpReport } from '../dump/report.ts';
import { createDumper } from '../dumper.ts';
import type { Deadline } from '../job/stop.ts';
import type { ConvertFlags } from './convert-command.ts';
import { type ConvertSource, openConvertSource } from './convert-source.ts';
import { expectedBytes } from './dump-source.ts';
import { openOutput } from './output.ts';
import { EXIT, printError } from './run-command.ts';
import { shownId } from './shown-id.ts';
import { Progress, print, printAside, printJson } from './terminal.ts';
import { workersOption } from './workers-option.ts';

/**
 * Pages stay in the file that is read until a worker writes them, so a conversion takes little
 * memory, however long the file is.
 */
export async function convertFormat(
  from: string,
  path: string,
  format: ImageFormat,
  flags: ConvertFlags,
  deadline: Deadline,
): Promise<number> {
  if (path === '-' && flags.json === true) {
    throw new MmdumpError('OPTION_INVALID', "output: '-': --json also writes to standard output");
  }
  const { blocks, parents, force = false, sync, split, mm } = flags;
  const { signal } = deadline;
  const start = performance.now();
  const output = await openOutput({ path, force, sync, split });
  const bytes = expectedBytes({ kind: 'core', path: from, memory: undefined });
  const dumper = await createDumper(workersOption(flags.workers, bytes));
  const progress = new Progress(flags);
  let source: ConvertSource | undefined;
  try {
    source = await openConvertSource({ path: from, to: format, mm, parents, signal }, dumper);
    deadline.phase = 'copy';
    const report = await dumper.dump(source.spaces, {
      to: output.sink,
      format,
      blocks,
      state: format === 'cpt' ? source.state : undefined,
      hugetlb: 'copy', // what the input has of them was asked for when it was written
      signal,
      onProgress: ({ bytes: done, totalBytes }) => progress.show('convert', done, totalBytes),
    });
    progress.stop();
    const ms = performance.now() - start;
    show(from, output.isStdout ? null : path, flags, source, report, ms);
    return EXIT.DONE;
  } finally {
    progress.stop();
    await source?.release();
    await dumper.close();
  }
}

/** Warnings are printed with --quiet as well: the output lacks something. */
function show(
  from: string,
  path: string | null,
  flags: ConvertFlags,
  { format, id, ancestors, warnings: before }: ConvertSource,
  { image, skipped, warnings: lost }: DumpReport,
  ms: number,
): void {
  const warnings = [
    ...before,
    ...lost,
    ...skipped.map(({ reason }) => `pages that are left out: ${reason}`),
  ];
  for (const line of warnings) printError(`${from}: ${line}`);
  if (flags.json === true) {
    const { bytes } = image;
    const made = { path, format: image.format, bytes, id: shownId(image) };
    printJson({ image: made, from: { path: from, format, id, ancestors }, warnings, ms });
  } else if (flags.quiet !== true) {
    const named = image.id === '' ? '' : `, id ${image.id}`;
    const size = formatBytes(image.bytes);
    const text = `${path ?? 'standard output'}: ${image.format}, ${size}${named}, made in ${formatMs(ms)}`;
    if (path === null) printAside(text);
    else print(text);
  }
}
