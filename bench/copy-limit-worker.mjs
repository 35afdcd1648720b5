// One thread of the copy limit: copies its share of the frames whenever it is told to.
import { parentPort, workerData } from 'node:worker_threads';

const { memory, module, lists, share, to } = workerData;
const { exports } = new WebAssembly.Instance(module, { limit: { memory } });
const bytes = new Uint8Array(memory.buffer);
const words = new Int32Array(memory.buffer);

/** The same with Uint8Array.set, which is as good for long runs. */
function copyBySet(list, count) {
  const first = list / 4; // beyond 2 GiB a shift would wrap
  const last = first + count;
  let at = to;
  for (let index = first; index < last; ) {
    const frame = words[index];
    let run = 1;
    while (index + run < last && words[index + run] === frame + run) run++;
    bytes.set(bytes.subarray(frame * 4096, (frame + run) * 4096), at);
    at += run * 4096;
    index += run;
  }
}

parentPort.on('message', ({ scatter, kernel }) => {
  const list = lists[scatter];
  if (kernel === 'wasm') exports.copyFrames(list, share, to);
  else copyBySet(list, share);
  parentPort.postMessage('done');
});
