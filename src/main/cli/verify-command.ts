/** `mmdump verify` checks whether an image is whole and undamaged. */

import { formatBytes } from '../../shared/human-units.ts';
import { hex } from '../../shared/page.ts';
import { createDumper } from '../dumper.ts';
import type { Verification } from '../image/verify/verify.ts';
import { EXIT, printError } from './run-command.ts';
import { type OutputOptions, Progress, print, printJson } from './terminal.ts';
import type { TimeoutFlag } from './timeout-option.ts';
import { withTimeout } from './with-timeout.ts';
import { sizeOf, workersOption } from './workers-option.ts';

export interface VerifyFlags extends OutputOptions, TimeoutFlag {
  readonly workers?: number;
  readonly parents?: readonly string[];
}

/** At most this many problems are printed in full; the others are counted. */
const LINES_MAX = 20;

export function verifyCommand(
  path: string,
  flags: VerifyFlags,
  signal: AbortSignal,
): Promise<number> {
  return withTimeout(flags, signal, 'verify', ({ signal: stop }) => verifyUntil(path, flags, stop));
}

async function verifyUntil(
  path: string,
  flags: VerifyFlags,
  signal: AbortSignal | undefined,
): Promise<number> {
  const dumper = await createDumper(workersOption(flags.workers, sizeOf(path)));
  const progress = new Progress(flags);
  let result: Verification;
  try {
    const onProgress = ({ bytes, totalBytes }: { bytes: number; totalBytes: number }): void => {
      progress.show('verify', bytes, totalBytes);
    };
    result = await dumper.verify(path, { signal, onProgress, parents: flags.parents });
  } finally {
    progress.stop();
    await dumper.close();
  }
  if (flags.json === true) printJson(verifyJson(result));
  else show(path, result, flags);
  return result.ok ? EXIT.DONE : EXIT.FAILED;
}

/** The object that `verify --json` prints; its keys are a contract. */
function verifyJson(result: Verification): unknown {
  const { ok, objects, pages, bytes, id, problems, unlisted } = result;
  return {
    ok,
    objects,
    pages,
    bytes,
    id,
    problems: problems.map(({ code, offset, address, message }) => {
      return { code, offset, address: address === null ? null : hex(address), message };
    }),
    unlisted,
  };
}

function show(path: string, result: Verification, flags: OutputOptions): void {
  const { ok, objects, pages, bytes, problems, unlisted } = result;
  if (ok) {
    const size = formatBytes(bytes);
    if (flags.quiet !== true) print(`${path}: ok, ${objects} objects, ${pages} pages, ${size}`);
    return;
  }
  for (const { code, message } of problems.slice(0, LINES_MAX)) {
    printError(`${path}: ${message} [${code}]`);
  }
  const more = Math.max(0, problems.length - LINES_MAX) + unlisted;
  if (more > 0) printError(`${more} more problems`);
}
