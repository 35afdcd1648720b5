/**
 * Ends the test process when it hangs, because an endless loop cannot be ended by its own thread.
 */
import { Worker } from 'node:worker_threads';

const SOURCE = `
const { workerData: { beats, seconds, where } } = require('node:worker_threads');
for (let seen = Atomics.load(beats, 0); ; ) {
  if (Atomics.wait(beats, 1, 0, seconds * 1000) !== 'timed-out') break;
  const now = Atomics.load(beats, 0);
  if (now === seen) {
    require('node:fs').writeSync(2, \`\${where}: case \${now} hangs\\n\`);
    process.kill(process.pid, 'SIGKILL');
  }
  seen = now;
}`;

export class Watchdog {
  readonly #beats = new Int32Array(new SharedArrayBuffer(8));

  /** `seconds` without a beat count as a hang; `where` says how to repeat it. */
  constructor(seconds: number, where: string) {
    const worker = new Worker(SOURCE, {
      eval: true,
      workerData: { beats: this.#beats, seconds, where },
    });
    worker.unref();
  }

  /** Reports that case `item` begins. */
  beat(item: number): void {
    Atomics.store(this.#beats, 0, item);
  }

  stop(): void {
    Atomics.store(this.#beats, 1, 1);
    Atomics.notify(this.#beats, 1);
  }
}
