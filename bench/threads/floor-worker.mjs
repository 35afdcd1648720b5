// One thread of a floor: does nothing but what the floor is about, with all the others.
// Plain JavaScript: on Node 20 a worker thread cannot be loaded from TypeScript.
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { crc32 } from 'node:zlib';

const PAGE = 4096;
const MAX_VIEW = 2 ** 31; // longer views are slow

/** Milliseconds on a clock that all threads share. */
function now() {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}

/** Calls `work(first, count)` for chunks of `total` items, claimed one at a time. */
function claimAll(claims, total, chunk, work) {
  for (;;) {
    const first = Atomics.add(claims, 0, chunk);
    if (first >= total) return;
    work(first, Math.min(chunk, total - first));
  }
}

// --- copies ---------------------------------------------------------------------------------

const arenas = new Map();

/** The arena of a copy limit as this thread sees it. */
function arenaOf({ id, memory, module, bytes }) {
  let arena = arenas.get(id);
  if (arena !== undefined) return arena;
  const { exports } = new WebAssembly.Instance(module, { limit: { memory } });
  const { buffer } = memory;
  arena = {
    exports,
    words: new Int32Array(buffer),
    frames: new Uint8Array(buffer, 0, bytes),
    copies: new Uint8Array(buffer, bytes, bytes),
    framesBuffer: Buffer.from(buffer, 0, bytes),
    copiesBuffer: Buffer.from(buffer, bytes, bytes),
  };
  arenas.set(id, arena);
  return arena;
}

/** Calls `copyRun(frame, pages, to)` for runs of neighbours of the list. */
function forRuns(words, first, count, to, copyRun) {
  const last = first + count;
  let at = to;
  for (let index = first; index < last; ) {
    const frame = words[index];
    let run = 1;
    while (index + run < last && words[index + run] === frame + run) run++;
    copyRun(frame * PAGE, run * PAGE, at);
    at += run * PAGE;
    index += run;
  }
}

const KERNELS = {
  'memory.copy': ({ exports }, list, count, to, bytes) => {
    exports.copyRuns(list | 0, count, (bytes + to) | 0);
  },
  'four at once': ({ exports }, list, count, to, bytes) => {
    exports.copyFours(list | 0, count, (bytes + to) | 0);
  },
  'Uint8Array.set': ({ words, frames, copies }, list, count, to) => {
    forRuns(words, list / 4, count, to, (from, length, at) => {
      copies.set(frames.subarray(from, from + length), at);
    });
  },
  'Buffer.copy': ({ words, framesBuffer, copiesBuffer }, list, count, to) => {
    forRuns(words, list / 4, count, to, (from, length, at) => {
      framesBuffer.copy(copiesBuffer, at, from, from + length);
    });
  },
};

// --- jobs -----------------------------------------------------------------------------------

const JOBS = {
  copy({ arena, list, count, kernel, chunk }, claims) {
    const mine = arenaOf(arena);
    const copy = KERNELS[kernel];
    claimAll(claims, count, chunk, (first, frames) => {
      copy(mine, list + first * 4, frames, first * PAGE, arena.bytes);
    });
  },

  /** Frames of a few claims' size stay in the second cache between their copy and their crc. */
  copyAndCrc({ arena, list, count, kernel, chunk }, claims) {
    const mine = arenaOf(arena);
    const copy = KERNELS[kernel];
    let sum = 0;
    claimAll(claims, count, chunk, (first, frames) => {
      const to = first * PAGE;
      copy(mine, list + first * 4, frames, to, arena.bytes);
      sum ^= crc32(mine.copies.subarray(to, to + frames * PAGE));
    });
    return sum;
  },

  crc({ chunks, chunkBytes, bytes, chunk }, claims) {
    let sum = 0;
    claimAll(claims, bytes / chunk, 1, (index) => {
      const at = index * chunk;
      const from = at % chunkBytes;
      sum ^= crc32(chunks[Math.floor(at / chunkBytes)].subarray(from, from + chunk));
    });
    return sum;
  },

  touch({ buffer, chunk }, claims) {
    const words = new Int32Array(buffer);
    claimAll(claims, words.length, chunk / 4, (first, count) => {
      for (let word = first; word < first + count; word += PAGE / 4) words[word] = 1;
    });
  },

  readProcess({ pid, start, bytes, buffer, chunk }, claims) {
    const fd = openSync(`/proc/${pid}/mem`, 'r');
    try {
      const views = [];
      for (let at = 0; at < bytes; at += MAX_VIEW) {
        views.push(new Uint8Array(buffer, at, Math.min(MAX_VIEW, bytes - at)));
      }
      claimAll(claims, bytes / chunk, 1, (index) => {
        const at = index * chunk;
        const view = views[Math.floor(at / MAX_VIEW)];
        const got = readSync(fd, view, at % MAX_VIEW, chunk, start + at);
        if (got !== chunk) throw new Error(`read ${got} of ${chunk} bytes of process ${pid}`);
      });
    } finally {
      closeSync(fd);
    }
  },
};

parentPort.on('message', ({ job, message, claims }) => {
  const start = now();
  try {
    JOBS[job](message, claims);
    parentPort.postMessage({ start, end: now() });
  } catch (error) {
    parentPort.postMessage({ failed: error.stack });
  }
});
