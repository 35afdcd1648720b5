// One of the threads that measure a floor. It does nothing but the work of that floor.
// This is plain JavaScript: on Node 20 a worker thread cannot be loaded from TypeScript.
import { closeSync, openSync, readSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';

const PAGE = 4096;
/** Bytes per read of a file; the buffer stays in the second-level cache. */
const READ_BYTES = 0x10000;
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

/** Calls `copyRun(from, length, to)`, all in bytes, for each run of neighbours in the list. */
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

/** The package's digest over a memory. No other instance shares its state. */
function digestsOf(module, memory) {
  const names = ['0', '1', '2', '3', '4', '5', '6', '7'].map((lane) => `lane${lane}`);
  const globals = [...names, 'total'].map((name) => {
    return [name, new WebAssembly.Global({ value: 'i64', mutable: true }, 0n)];
  });
  const imports = { frames: memory, image: memory, ...Object.fromEntries(globals) };
  return new WebAssembly.Instance(module, { mmdump: imports }).exports;
}

// --- jobs -----------------------------------------------------------------------------------

const JOBS = {
  copy({ arena, list, count, kernel, chunk }, claims) {
    const mine = arenaOf(arena);
    const copy = KERNELS[kernel];
    claimAll(claims, count, chunk, (first, frames) => {
      copy(mine, list + first * 4, frames, first * PAGE, arena.bytes);
    });
  },

  /** The frames of a claim stay in the second-level cache between their copy and their digest. */
  copyAndDigest({ arena, list, count, kernel, chunk, digests }, claims) {
    const mine = arenaOf(arena);
    mine.digests ??= digestsOf(digests, arena.memory);
    const copy = KERNELS[kernel];
    let sum = 0;
    claimAll(claims, count, chunk, (first, frames) => {
      const to = first * PAGE;
      copy(mine, list + first * 4, frames, to, arena.bytes);
      sum ^= mine.digests.digest((arena.bytes + to) | 0, frames * PAGE);
    });
    return sum;
  },

  /** Digests bytes that lie anywhere: they pass through a memory of the kernel's own. */
  digest({ chunks, chunkBytes, bytes, chunk, digests }, claims) {
    const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
    const room = new Uint8Array(memory.buffer);
    const kernels = digestsOf(digests, memory);
    let sum = 0;
    claimAll(claims, bytes / chunk, 1, (index) => {
      const at = index * chunk;
      const from = at % chunkBytes;
      const bytes = chunks[Math.floor(at / chunkBytes)];
      for (let done = 0; done < chunk; done += room.length) {
        room.set(bytes.subarray(from + done, from + done + room.length));
        sum ^= kernels.digest(0, room.length);
      }
    });
    return sum;
  },

  touch({ buffer, chunk }, claims) {
    const words = new Int32Array(buffer);
    claimAll(claims, words.length, chunk / 4, (first, count) => {
      for (let word = first; word < first + count; word += PAGE / 4) words[word] = 1;
    });
  },

  readFile({ path, bytes, chunk }, claims) {
    const fd = openSync(path, 'r');
    const room = new Uint8Array(READ_BYTES);
    try {
      claimAll(claims, bytes / chunk, 1, (index) => {
        for (let done = 0; done < chunk; done += READ_BYTES) {
          if (readSync(fd, room, 0, READ_BYTES, index * chunk + done) === 0)
            throw new Error('short');
        }
      });
    } finally {
      closeSync(fd);
    }
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
