/**
 * Runs a command. Ctrl-C aborts it, and everything is undone. An error becomes one line of text and
 * an exit code: 0 done · 1 the work failed · 2 wrong usage · 130 interrupted.
 */
import { AbortError, MmdumpError, reasonOf } from '../../shared/errors.ts';
import { ENDING_SIGNALS } from '../job/guard.ts';
import { screenOf, styled } from './layout/screen.ts';

/** Values of the exit code. */
export const EXIT = { DONE: 0, FAILED: 1, USAGE: 2, INTERRUPTED: 130 } as const;

/** A terminal and a parent such as npx may both deliver the same Ctrl-C. It counts once. */
const SAME_SIGNAL_MS = 500;

/**
 * Runs `command` and sets the exit code of the process. A second signal ends it at once. `failed` is
 * the code for an error of the work.
 */
export async function runCommand(
  command: (signal: AbortSignal) => Promise<number>,
  failed: number = EXIT.FAILED,
): Promise<void> {
  const controller = new AbortController();
  let firstAt = 0;
  const interrupt = (): void => {
    if (!controller.signal.aborted) {
      firstAt = performance.now();
      controller.abort();
    } else if (performance.now() - firstAt > SAME_SIGNAL_MS) {
      process.exit(EXIT.INTERRUPTED);
    }
  };
  for (const name of ENDING_SIGNALS) process.on(name, interrupt);
  try {
    setExitCode(await command(controller.signal));
  } catch (error) {
    setExitCode(report(error, failed));
    // Everything is undone. A pending write into a pipe that nobody reads must not delay the exit.
    if (controller.signal.aborted || isTimeout(error)) process.exit();
  } finally {
    for (const name of ENDING_SIGNALS) process.off(name, interrupt);
  }
}

/** Keeps an exit code that is set already: that of output which could not be written. */
function setExitCode(code: number): void {
  if (process.exitCode === undefined) process.exitCode = code;
}

function isTimeout(error: unknown): boolean {
  return error instanceof MmdumpError && error.code === 'TIMEOUT';
}

/** Prints one line about a failure, and returns the exit code. */
function report(error: unknown, failed: number): number {
  if (error instanceof AbortError) {
    printError('interrupted: nothing was left behind');
    return EXIT.INTERRUPTED;
  }
  if (error instanceof MmdumpError) {
    printError(`${error.message} [${error.code}]`);
    return error.code === 'OPTION_INVALID' ? EXIT.USAGE : failed;
  }
  printError(`internal error: ${reasonOf(error)}`);
  if (process.env.MMDUMP_DEBUG !== undefined && error instanceof Error) {
    process.stderr.write(`${error.stack}\n`);
  }
  return failed;
}

export function printError(message: string): void {
  const name = styled(screenOf(process.stderr), 'red', 'mmdump:');
  process.stderr.write(`${name} ${message.replaceAll('\n', ' ')}\n`);
}
