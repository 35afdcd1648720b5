/**
 * Reports differences between the running kernel and the simulated machine. A normal run reports
 * them and goes on, so that no change is held up by the kernel of the computer at hand.
 * MMDUMP_KERNEL=1 (npm run test:kernel) turns each of them into a failure.
 */
import type { TestContext } from 'vitest';
import { describeKernel } from './known-kernels.ts';

export const FINDINGS_FAIL: boolean = process.env.MMDUMP_KERNEL === '1';

export interface Finding {
  /** The name of the history that differs. */
  readonly what: string;
  /** The step, the result on Linux and on the machine, and the shortest history that shows it. */
  readonly report: string;
}

/** Fails the test, or skips it with the reason. */
export function nameFinding(context: TestContext, { what, report }: Finding): void {
  const text = `${describeKernel()}\n${what}\n${report}`;
  if (FINDINGS_FAIL) throw new Error(text);
  process.stdout.write(
    `\nThe running kernel has a rule of its own (npm run test:kernel):\n${text}\n\n`,
  );
  context.skip(`the running kernel has a rule of its own: ${what}`);
}
