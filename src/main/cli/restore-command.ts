/**
 * `mmdump restore` restores an image into a simulated machine, and checks the result if asked to.
 */
import { createMachine } from '../../mmu/machine/attach.ts';
import { STATE_MAX_BYTES } from '../../shared/formats/cpt/records.ts';
import { formatMs } from '../../shared/human-units.ts';
import { hex, PAGE_SIZE } from '../../shared/page.ts';
import { createDumper } from '../dumper.ts';
import { openImage } from '../image/image.ts';
import type { Deadline } from '../job/stop.ts';
import { type CheckResult, checkRestored, memoryForImage } from '../load/check-restored.ts';
import { EXIT, printError } from './run-command.ts';
import { shownId } from './shown-id.ts';
import { type OutputOptions, Progress, print, printJson } from './terminal.ts';
import type { TimeoutFlag } from './timeout-option.ts';
import { withTimeout } from './with-timeout.ts';
import { workersOption } from './workers-option.ts';

export interface RestoreFlags extends OutputOptions, TimeoutFlag {
  readonly check?: boolean;
  readonly workers?: number;
  readonly memory?: number;
  readonly load?: 'now' | 'on-demand';
  readonly parents?: readonly string[];
}

export function restoreCommand(
  path: string,
  flags: RestoreFlags,
  signal: AbortSignal,
): Promise<number> {
  return withTimeout(flags, signal, 'open', (deadline) => restoreUntil(path, flags, deadline));
}

async function restoreUntil(
  path: string,
  flags: RestoreFlags,
  deadline: Deadline,
): Promise<number> {
  const { signal } = deadline;
  const image = await openImage(path, { signal, parents: flags.parents });
  const dumper = await createDumper(workersOption(flags.workers));
  const progress = new Progress(flags);
  let release = async (): Promise<void> => {};
  try {
    const memory = flags.memory ?? memoryForImage(image);
    const machine = createMachine({ memory, maxAddressSpaces: Math.max(1, image.mms().length) });
    deadline.phase = 'restore';
    const restored = await dumper.restore(image, machine, {
      signal,
      load: flags.load,
      maxStateBytes: STATE_MAX_BYTES, // it is checked, and not kept
      onProgress: ({ pages, totalPages }) => {
        progress.show('restore', pages * PAGE_SIZE, totalPages * PAGE_SIZE);
      },
    });
    release = () => restored.release();
    progress.stop();
    deadline.phase = 'check';
    const check = flags.check === true ? await checkRestored(image, restored.mms, signal) : null;
    const vmas = image.mms().reduce((sum, mm) => sum + mm.vmas.length, 0);
    const { pages, onDemand, ms } = restored;
    const summary = { mms: restored.mms.length, vmas, pages, onDemand, ms };
    const source = { path, id: shownId(image) };
    if (flags.json === true) printJson({ image: source, ...summary, check: checkJson(check) });
    else show(path, summary, check, flags);
    return check === null || check.equal ? EXIT.DONE : EXIT.FAILED;
  } finally {
    progress.stop();
    await dumper.close();
    await release();
    await image.close();
  }
}

/** The outcome of a check as `restore --json` prints it, with the address as a string. */
function checkJson(check: CheckResult | null): unknown {
  if (check === null || check.difference === null) return check;
  const { address, message } = check.difference;
  return { ...check, difference: { address: address === null ? null : hex(address), message } };
}

interface Summary {
  readonly mms: number;
  readonly vmas: number;
  readonly pages: number;
  readonly onDemand: number;
  readonly ms: number;
}

function show(
  path: string,
  summary: Summary,
  check: CheckResult | null,
  flags: OutputOptions,
): void {
  const { mms, vmas, pages, onDemand, ms } = summary;
  if (check !== null && !check.equal) {
    printError(`${path}: restored, but ${check.difference?.message}`);
  } else if (flags.quiet !== true) {
    const checked = check === null ? '' : `; all ${check.pages} pages were checked and are equal`;
    const left = onDemand === 0 ? '' : `, of which ${onDemand} stay in the image`;
    print(
      `${path}: ${mms} mm, ${vmas} mappings, ${pages} pages${left} in ${formatMs(ms)}${checked}`,
    );
  }
}
