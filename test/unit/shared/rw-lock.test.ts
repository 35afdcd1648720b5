import { describe, expect, it } from 'vitest';
import { isSettled, testLocks } from '../../support/machine/locks.ts';
import { codeOf } from '../../support/machine/machine.ts';

describe('the readers-writer lock', () => {
  it('lets readers share and writers exclude everybody', () => {
    const { lock, ids } = testLocks(3);
    const [a, b, c] = ids as [number, number, number];
    expect(lock.tryLock(a, 'read')).toBe(true);
    expect(lock.tryLock(b, 'read')).toBe(true);
    expect(lock.tryLock(c, 'write')).toBe(false);
    expect(lock.holders()).toEqual({ readers: 2, writers: 0 });
    lock.unlock(a);
    lock.unlock(b);
    expect(lock.tryLock(c, 'write')).toBe(true);
    expect(lock.tryLock(a, 'read')).toBe(false);
    expect(lock.tryLock(b, 'write')).toBe(false);
    expect(lock.holders()).toEqual({ readers: 0, writers: 1 });
    lock.unlock(c);
    expect(lock.holders()).toEqual({ readers: 0, writers: 0 });
  });

  it('serves in the order of arrival: a waiting writer holds later readers back', async () => {
    const { lock, ids } = testLocks(4);
    const [a, writer, late, other] = ids as [number, number, number, number];
    expect(lock.tryLock(a, 'read')).toBe(true);
    const order: string[] = [];
    const write = lock.lockAsync(writer, 'write').then(() => order.push('writer'));
    const read = lock.lockAsync(late, 'read').then(() => order.push('reader'));
    expect(await isSettled(write)).toBe(false);
    expect(await isSettled(read)).toBe(false);
    expect(lock.tryLock(other, 'read')).toBe(false);
    lock.unlock(a);
    await write;
    expect(await isSettled(read)).toBe(false);
    lock.unlock(writer);
    await read;
    expect(order).toEqual(['writer', 'reader']);
    lock.unlock(late);
  });

  it('takes an aborted waiter out of the queue', async () => {
    const { lock, ids } = testLocks(3);
    const [a, writer, reader] = ids as [number, number, number];
    lock.lock(a, 'read');
    const controller = new AbortController();
    const write = lock.lockAsync(writer, 'write', controller.signal);
    const read = lock.lockAsync(reader, 'read');
    expect(await isSettled(read)).toBe(false);
    controller.abort();
    await expect(write).rejects.toMatchObject({ code: 'ABORT_ERR' });
    await read;
    expect(lock.holders()).toEqual({ readers: 2, writers: 0 });
  });

  it('gives back what a dead thread held or waited for, and says what it was', async () => {
    const { lock, ids } = testLocks(4);
    const [reader, waiter, next, idle] = ids as [number, number, number, number];
    lock.lock(reader, 'read');
    void lock.lockAsync(waiter, 'write').catch(() => {});
    const after = lock.lockAsync(next, 'read');
    expect(await isSettled(after)).toBe(false);
    expect(lock.abandon(waiter)).toBe('waiting');
    await after;
    expect(lock.abandon(reader)).toBe('reading');
    expect(lock.abandon(idle)).toBe('nothing');
    lock.unlock(next);
    lock.lock(idle, 'write');
    expect(lock.abandon(idle)).toBe('writing');
    expect(lock.holders()).toEqual({ readers: 0, writers: 0 });
  });

  it('refuses everybody once the machine is poisoned, waiters included', async () => {
    const { lock, table, ids } = testLocks(3);
    const [writer, waiter, late] = ids as [number, number, number];
    lock.lock(writer, 'write');
    const waiting = lock.lockAsync(waiter, 'read');
    expect(await isSettled(waiting)).toBe(false);
    table.poison(1, writer);
    lock.wakeAll();
    await expect(waiting).rejects.toMatchObject({ code: 'MACHINE_POISONED' });
    expect(codeOf(() => lock.tryLock(late, 'read'))).toBe('MACHINE_POISONED');
  });

  it('asserts that a thread does not take it twice', () => {
    const { lock, ids } = testLocks(1);
    lock.lock(ids[0]!, 'read');
    expect(() => lock.tryLock(ids[0]!, 'read')).toThrow(/lock order/);
    expect(() => lock.tryLock(ids[0]!, 'write')).toThrow(/lock order/);
  });

  it('goes on when its tickets wrap round', () => {
    const { lock, memory, ids } = testLocks(2);
    const [a, b] = ids as [number, number];
    const ticketWord = memory.length - 16 - (16 + 256 * 16); // NEXT_TICKET is the lock's first
    memory[ticketWord] = 0x0fff_fffe;
    for (let round = 0; round < 5; round++) {
      expect(lock.tryLock(a, 'write')).toBe(true);
      expect(lock.tryLock(b, 'read')).toBe(false);
      lock.unlock(a);
      expect(lock.tryLock(b, 'write')).toBe(true);
      expect(lock.tryLock(a, 'write')).toBe(false);
      lock.unlock(b);
    }
  });
});
