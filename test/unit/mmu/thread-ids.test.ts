/**
 * Operations that need a thread id when all ids are taken wait in order, and never for each other.
 */
import { describe, expect, it } from 'vitest';
import { attach } from '../../../src/mmu/machine/attach.ts';
import type { Machine } from '../../../src/mmu/machine/machine.ts';
import { MiB, PAGE_SIZE } from '../../../src/shared/page.ts';
import { ATTACHED, OPERATION, THREADS_MAX } from '../../../src/shared/sync/thread-layout.ts';
import { isSettled } from '../../support/machine/locks.ts';
import { codeOf, pageOf, testMachine } from '../../support/machine/machine.ts';

const ANON = { prot: 'rw', flags: ['private', 'anonymous'], length: 4 * PAGE_SIZE } as const;
const MANY = 1000;

function codeOfAll(results: readonly PromiseSettledResult<unknown>[]): string[] {
  const codes = results.map((result) =>
    result.status === 'fulfilled' ? 'done' : (result.reason as { code: string }).code,
  );
  return [...new Set(codes)];
}

/** Takes ids for operations until none is left. */
function takeAll({ parts }: Machine): number[] {
  const ids: number[] = [];
  for (let id = 0; id >= 0; ) {
    id = parts.threads.tryRegister(OPERATION);
    if (id >= 0) ids.push(id);
  }
  return ids;
}

describe('fault 7: more operations than there are ids wait for one', () => {
  it('a thousand writes that began while the machine was frozen are all done', async () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const at = space.mmap(ANON);
    const freeze = await machine.freeze();
    const writes = Array.from({ length: MANY }, (_, index) =>
      space.writeAsync(at + index, Uint8Array.of(index % 251)),
    );
    // A waiter at the gate has no id, because others need ids to freeze.
    const second = await machine.freeze();
    expect(machine.parts.threads.highWater).toBeLessThan(8);
    second.thaw();
    freeze.thaw();
    await Promise.all(writes);
    const bytes = new Uint8Array(MANY);
    space.read(at, bytes);
    expect([...bytes]).toEqual(Array.from(bytes, (_, index) => index % 251));
    expect(machine.parts.threads.anyOperation).toBe(false);
  });

  it('a thousand operations that wait for one lock are all done', async () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const at = space.mmap(ANON);
    const holder = machine.parts.threads.register();
    space.mm.lock.lock(holder, 'read');
    const protects = Array.from({ length: MANY }, () => space.mprotectAsync(at, PAGE_SIZE, 'r'));
    expect(await isSettled(Promise.race(protects))).toBe(false);
    space.mm.lock.unlock(holder);
    await Promise.all(protects);
  });

  it('a thousand forks, of which one at a time finds a slot', async () => {
    const machine = testMachine({ maxAddressSpaces: 2 });
    const space = machine.createAddressSpace();
    const at = space.mmap(ANON);
    space.write(at, pageOf(5));
    const forks = Array.from({ length: MANY }, async () => {
      const child = await space.forkAsync();
      await child.exitAsync();
    });
    const codes = codeOfAll(await Promise.allSettled(forks));
    expect(codes.filter((code) => code !== 'ENOMEM')).toEqual(['done']);
    expect(machine.addressSpaces()).toHaveLength(1);
  });

  it('what memory has to be populated for needs no second id beside the first', async () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const maps = Array.from({ length: 600 }, () =>
      space.mmapAsync({ ...ANON, length: PAGE_SIZE, flags: ['private', 'anonymous', 'populate'] }),
    );
    const places = await Promise.all(maps);
    expect(space.mincore(Math.min(...places), 600 * PAGE_SIZE).every((byte) => byte === 1)).toBe(
      true,
    );
  });

  it('goes on in order as ids come back, and gives up when its signal says so', async () => {
    const { parts } = testMachine();
    const taken = takeAll({ parts } as Machine);
    const order: string[] = [];
    const abort = new AbortController();
    const first = parts.queue.take(2).then((ids) => {
      order.push('two');
      return ids;
    });
    const second = parts.queue.take(1, abort.signal);
    const third = parts.queue.take(1).then((ids) => {
      order.push('one');
      return ids;
    });
    parts.threads.release(taken.pop()!);
    expect(await isSettled(first)).toBe(false); // gets all or none, and no waiter overtakes
    abort.abort();
    await expect(second).rejects.toMatchObject({ code: 'ABORT_ERR' });
    expect(await isSettled(third)).toBe(false);
    parts.threads.release(taken.pop()!);
    expect(await first).toHaveLength(2);
    expect(await isSettled(third)).toBe(false);
    parts.threads.release(taken.pop()!);
    await third;
    expect(order).toEqual(['two', 'one']);
  });

  it('a freeze and an aborted operation wait for ids, too', async () => {
    const machine = testMachine();
    const space = machine.createAddressSpace();
    const taken = takeAll(machine);
    const freezing = machine.freeze();
    const abort = new AbortController();
    const second = machine.freeze({ signal: abort.signal });
    expect(await isSettled(freezing)).toBe(false);
    abort.abort();
    await expect(second).rejects.toMatchObject({ code: 'ABORT_ERR' });
    machine.parts.threads.release(taken.pop()!);
    (await freezing).thaw();
    expect(codeOf(() => space.mmap(ANON))).toBe('nothing');
  });

  it('is refused where threads that stay have taken so many that it would wait for ever', async () => {
    const machine = testMachine({ memory: MiB });
    const space = machine.createAddressSpace();
    const { threads } = machine.parts;
    while (threads.tryRegister(ATTACHED) >= 0);
    expect(threads.attached).toBe(THREADS_MAX);
    await expect(space.vmasAsync()).rejects.toMatchObject({ code: 'TOO_MANY_THREADS' });
    expect(codeOf(() => attach(machine.handle))).toBe('TOO_MANY_THREADS');
    threads.release(7);
    expect(await space.vmasAsync()).toEqual([]);
    await expect(machine.parts.queue.take(2)).rejects.toMatchObject({ code: 'TOO_MANY_THREADS' });
  });
});
