/** Prints which kernel is running. Exit code 0 if that kernel was recorded, else 1. */
import { describeKernel, knownAs } from '../support/linux/known-kernels.ts';
import { runningKernel } from '../support/linux/running-kernel.ts';

const kernel = runningKernel();
process.stdout.write(`${describeKernel(kernel)}\n`);
process.exitCode = typeof kernel !== 'string' && knownAs(kernel) !== undefined ? 0 : 1;
