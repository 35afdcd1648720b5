/**
 * What the running kernel does otherwise than the simulated machine, of either kind. A normal run says
 * it and goes on: nobody's change is held up by a kernel that he happens to have. MMDUMP_KERNEL=1
 * (npm run test:kernel) makes each of them a failure.
 */
import type { TestContext } from 'vitest';
import { describeKernel } from './known-kernels.ts';

export const FINDINGS_FAIL: boolean = process.env.MMDUMP_KERNEL === '1';

export interface Finding {
  /** Which history, and which way. */
  readonly what: string;
  /** The step, what Linux did, what the machine did, and the shortest history that shows it. */
  readonly report: string;
}

/** Fails the test, or skips it and says why. */
export function nameFinding(context: TestContext, { what, report }: Finding): void {
  const text = `${describeKernel()}\n${what}\n${report}`;
  if (FINDINGS_FAIL) throw new Error(text);
  process.stdout.write(
    `\nThe running kernel has a rule of its own (npm run test:kernel):\n${text}\n\n`,
  );
  context.skip(`the running kernel has a rule of its own: ${what}`);
}
