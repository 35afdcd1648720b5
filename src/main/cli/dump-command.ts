/** `mmdump dump` dumps processes or a workload into an image: parse, run, print. */
import { MmdumpError } from '../../shared/errors.ts';
import { canTrace } from '../../shared/native/ptrace.ts';
import type { EstimateOptions } from '../dump/options.ts';
import type { DumpEstimate, DumpReport } from '../dump/report.ts';
import { createDumper } from '../dumper.ts';
import { openImage } from '../image/image.ts';
import { abortable } from '../job/stop.ts';
import { dumpJson, dumpText } from './dump-output.ts';
import { type DumpFlags, type DumpRequest, parseRequest } from './dump-request.ts';
import { expectedBytes, openSource, type Source } from './dump-source.ts';
import { screenOf } from './layout/screen.ts';
import { NO_OUTPUT, type Output, openOutput } from './output.ts';
import { EXIT, printError } from './run-command.ts';
import { type OutputOptions, Progress, print, printAside, printJson } from './terminal.ts';
import { withTimeout } from './with-timeout.ts';
import { workersOption } from './workers-option.ts';

/** What a dump has made. */
interface Dumped {
  readonly report: DumpReport | DumpEstimate;
  readonly source: Source;
  readonly output: Output;
}

/** The time-out covers the whole command: the import, the dump, and all that comes before them. */
export async function dumpCommand(flags: DumpFlags, signal: AbortSignal): Promise<number> {
  const request = parseRequest(flags);
  return await withTimeout(flags, signal, 'load', async ({ signal: stop }) => {
    printDumped(await run(request, stop), request.printing);
    return EXIT.DONE;
  });
}

async function run(
  { from, output: wanted, workers, mm, options, parent: path, parents, printing }: DumpRequest,
  signal: AbortSignal | undefined,
): Promise<Dumped> {
  const output = wanted ? await abortable(openOutput(wanted), signal) : NO_OUTPUT;
  // Before the process is stopped, which may take as long as all records take to be read.
  const parent = path === undefined ? undefined : await openImage(path, { signal, parents });
  const dumper = await createDumper(workersOption(workers, expectedBytes(from)));
  const progress = new Progress(printing);
  let source: Source | undefined;
  try {
    const opened = await openSource(from, dumper, progress, signal);
    source = opened;
    const chosen = chooseMm(opened, mm);
    const all: EstimateOptions = {
      ...options,
      parent,
      source: chosen.names,
      signal,
      onProgress: ({ phase, bytes, totalBytes, etaMs }) => {
        if (phase === 'copy') progress.show('dump  ', bytes, totalBytes, etaMs);
      },
      // So that processes do not stand still while the disk writes.
      onCaptured: async () => void (await opened.release()),
    };
    const report = wanted
      ? await dumper.dump(chosen.spaces, { ...all, to: output.sink })
      : await dumper.estimate(chosen.spaces, all);
    return { report, source: { ...source, processes: await source.release() }, output };
  } finally {
    progress.stop();
    await source?.release();
    await dumper.close();
    await parent?.close();
  }
}

/** The address spaces that are dumped, with their names: all, or the one that was asked for. */
function chooseMm(
  { spaces, names }: Source,
  mm: number | undefined,
): Pick<Source, 'spaces' | 'names'> {
  if (mm === undefined) return { spaces, names };
  const [space, name] = [spaces[mm], names[mm]];
  if (space !== undefined && name !== undefined) return { spaces: [space], names: [name] };
  const text = `mm: ${mm}: there are ${spaces.length} address spaces, numbered from 0 on`;
  throw new MmdumpError('OPTION_INVALID', text, { mm });
}

function printDumped(
  { report, source: { importMs, processes, core }, output: { name, isStdout } }: Dumped,
  { json, quiet }: OutputOptions,
): void {
  // This is printed with --quiet as well: the image lacks something, or may differ.
  for (const { pid, stoppedBy, notTraced, smapsDifferences } of processes) {
    if (stoppedBy === 'signal' && canTrace()) {
      printError(
        `process ${pid} was stopped by SIGSTOP, without its registers, since ${notTraced}`,
      );
    }
    for (const line of smapsDifferences ?? []) printError(`differs from smaps: ${line}`);
  }
  for (const line of report.warnings) printError(line);
  if (json === true) printJson(dumpJson(report, importMs, processes, core));
  else if (quiet !== true) {
    const screen = screenOf(isStdout ? process.stderr : process.stdout);
    const text = dumpText(report, importMs, processes, name, core, screen);
    if (isStdout) printAside(text);
    else print(text);
  }
}
