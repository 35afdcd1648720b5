/**
 * Processes that are read without being stopped. Invariants checked:
 *  - no signal reaches them, and they make progress in the middle of the import
 *  - what they do not write is read as it is; the image says that they were not stopped
 *  - a process whose mappings change every time is refused, and nothing of it stays in the machine
 */
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';
import { createMachine, importProcess, MiB } from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { LiveFixture } from '../support/live/capture.ts';
import { failure, freshMachine } from '../support/live/failures.ts';
import { LiveProcess } from '../support/live/live-process.ts';
import { untilNow } from '../support/live/proc.ts';
import { CliFolder } from '../support/programs/cli.ts';

const PAGE = 4096;

/**
 * Counts in its first page, leaves the second alone and counts SIGCONTs; 'grow' keeps mapping more.
 */
const SOURCE = `
import ctypes, mmap, signal, sys, threading
conts = 0
kept = []
def on_cont(*_):
    global conts
    conts += 1
signal.signal(signal.SIGCONT, on_cont)
block = mmap.mmap(-1, 2 * 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
block[4096:8192] = b'k' * 4096
def count():
    number = 0
    while True:
        number += 1
        block[0:8] = number.to_bytes(8, 'little')
def grow():
    while True:
        kept.append(mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
threading.Thread(target=count, daemon=True).start()
print(ctypes.addressof(ctypes.c_char.from_buffer(block)), flush=True)
print('ready', flush=True)
for line in sys.stdin:
    if line.strip() == 'grow':
        threading.Thread(target=grow, daemon=True).start()
    print(conts, flush=True)
`;

const fixture = new LiveFixture();
beforeAll(() => fixture.start());
afterAll(() => fixture.close());

async function start(): Promise<{ readonly live: LiveProcess; readonly address: number }> {
  const live = await LiveProcess.start(['python3', '-c', SOURCE]);
  const [address] = await live.ready();
  return { live, address: Number(address) };
}

/** Waits until the process has gone on counting. */
function waitUntilCounted(pid: number, address: number): void {
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  const count = (): bigint => {
    const bytes = Buffer.alloc(8);
    readSync(memory, bytes, 0, 8, address);
    return bytes.readBigUInt64LE();
  };
  try {
    const before = count();
    untilNow('it counts', () => count() > before);
  } finally {
    closeSync(memory);
  }
}

describe('a process that goes on while it is read', () => {
  it('is not stopped', async () => {
    const { live, address } = await start();
    const { pid } = live;
    let told = 0;
    const onProgress = (): void => {
      told++;
      waitUntilCounted(pid, address);
    };
    const machine = createMachine({ memory: 256 * MiB });
    const { dumper } = fixture;
    const options = { dumper, onProgress, freeze: false };
    const { mms, processes } = await importProcess(machine, pid, options);
    expect(told).toBeGreaterThan(0);
    expect(processes[0]).toMatchObject({ pid, sharingKnown: false, smapsDifferences: null });
    expect(processes[0]!.ms.stopped).toBe(0);
    const page = new Uint8Array(PAGE);
    mms[0]!.read(address + PAGE, page);
    expect(page.every((byte) => byte === 0x6b)).toBe(true);
    expect(await live.request('conts')).toBe('0');
    // Stopping the same process is counted, so a signal would have been noticed before.
    await importProcess(createMachine({ memory: 256 * MiB }), pid, { dumper });
    expect(await live.request('conts')).toBe('1');
    await live.kill();
  });

  it('and maps more all the time: PROCESS_CHANGED', async () => {
    const { live } = await start();
    const { pid } = live;
    await live.request('grow');
    const { machine, expectUntouched } = freshMachine(512 * MiB);
    const maps = (): string => readFileSync(`/proc/${pid}/maps`, 'latin1');
    const onProgress = (): void => {
      const before = maps();
      untilNow('it maps', () => maps() !== before);
    };
    const options = { dumper: fixture.dumper, onProgress, freeze: false };
    const error = await failure(importProcess(machine, pid, options));
    expect(error).toMatchObject({ code: 'PROCESS_CHANGED', fields: { pid } });
    expectUntouched();
    await live.kill();
  });

  it('on the command line', async () => {
    const { live } = await start();
    const { pid } = live;
    const folder = new CliFolder();
    const words = ['--no-freeze', '-o', 'a.cpt', '--json'];
    const run = folder.mmdump('dump', '--pid', `${pid}`, ...words);
    folder.remove();
    expect(run.status).toBe(0);
    expect(JSON.parse(run.stdout)).toMatchObject({ frozen: false });
    expect(await live.request('conts')).toBe('0');
    await live.kill();
  });
});
