import { afterEach, describe, expect, it, vi } from 'vitest';
import { RANK } from '../../../src/shared/sync/held-locks.ts';
import { Mutex } from '../../../src/shared/sync/mutex.ts';
import { spinLock, spinUnlock } from '../../../src/shared/sync/spin-lock.ts';
import { THREADS_MAX } from '../../../src/shared/sync/thread-layout.ts';
import { isSettled, testLocks } from '../../support/machine/locks.ts';
import { codeOf } from '../../support/machine/machine.ts';

describe('the freeze gate', () => {
  it('closes once everybody inside has left, and lets nobody in meanwhile', async () => {
    const { gate, ids } = testLocks(3);
    const [inside, outside, freezer] = ids as [number, number, number];
    expect(gate.tryEnter(inside)).toBe(true);
    const frozen = gate.freeze(freezer);
    expect(await isSettled(frozen)).toBe(false);
    expect(gate.tryEnter(outside)).toBe(false);
    gate.leave(inside);
    await frozen;
    const entering = gate.enterAsync(outside);
    expect(await isSettled(entering)).toBe(false);
    gate.thaw(freezer);
    await entering;
    gate.leave(outside);
  });

  it('nests: it opens with the last thaw', async () => {
    const { gate, ids } = testLocks(3);
    const [a, b, thread] = ids as [number, number, number];
    await gate.freeze(a);
    await gate.freeze(b);
    gate.thaw(a);
    expect(gate.tryEnter(thread)).toBe(false);
    gate.thaw(b);
    expect(gate.tryEnter(thread)).toBe(true);
  });

  it('is open again when a freeze is aborted or its thread dies', async () => {
    const { gate, ids } = testLocks(3);
    const [inside, freezer, other] = ids as [number, number, number];
    gate.tryEnter(inside);
    const controller = new AbortController();
    const frozen = gate.freeze(freezer, controller.signal);
    controller.abort();
    await expect(frozen).rejects.toMatchObject({ code: 'ABORT_ERR' });
    expect(gate.isClosed).toBe(false);
    const second = gate.freeze(other);
    gate.abandon(inside); // died inside: no thread waits for it
    await second;
    gate.abandon(other);
    expect(gate.isClosed).toBe(false);
  });
});

describe('the spin lock', () => {
  it('excludes, and poisons the machine when its owner is dead', () => {
    const { memory, table, spare, ids } = testLocks(2);
    const [a, b] = ids as [number, number];
    spinLock(memory, spare, a, RANK.PAGE_TABLE, table, false);
    expect(memory[spare]).toBe(a + 1);
    spinUnlock(memory, spare, a, RANK.PAGE_TABLE, table);
    spinLock(memory, spare, b, RANK.PAGE_TABLE, table, false);
    table.declareDead(b);
    const take = (): void => spinLock(memory, spare, a, RANK.PAGE_TABLE, table, false);
    expect(codeOf(take)).toBe('MACHINE_POISONED');
  });

  describe('fault 10: time that passes while the program stands still is no lock-up', () => {
    afterEach(() => vi.restoreAllMocks());

    /** Another thread than `b`, which holds the lock, tries to take it; each look reads `clock`. */
    function contend(clock: (look: number, letGo: () => void) => number): string {
      const { memory, table, spare, ids } = testLocks(2);
      const [a, b] = ids as [number, number];
      spinLock(memory, spare, b, RANK.PAGE_TABLE, table, false);
      const letGo = (): void => spinUnlock(memory, spare, b, RANK.PAGE_TABLE, table);
      let look = 0;
      vi.spyOn(performance, 'now').mockImplementation(() => clock(look++, letGo));
      return codeOf(() => spinLock(memory, spare, a, RANK.PAGE_TABLE, table, false));
    }

    it('a clock that jumps by an hour, again and again, poisons nothing', () => {
      const hour = 3_600_000;
      const code = contend((look, letGo) => {
        if (look === 100) letGo();
        return look * hour;
      });
      expect(code).toBe('nothing');
    });

    it('a clock that is set back poisons nothing either', () => {
      const code = contend((look, letGo) => {
        if (look === 100) letGo();
        return -look * 3_600_000;
      });
      expect(code).toBe('nothing');
    });

    it('a lock that is held while this thread looks for 20 s poisons the machine', () => {
      let looks = 0;
      const code = contend((look) => {
        looks = look;
        return look * 4; // ms; read twice per look
      });
      expect(code).toBe('MACHINE_POISONED');
      expect(looks * 4).toBeGreaterThan(20_000);
    });
  });

  it('asserts the lock order', () => {
    const { memory, table, spare, ids } = testLocks(1);
    const id = ids[0]!;
    spinLock(memory, spare, id, RANK.ALLOCATOR, table, false);
    expect(() => spinLock(memory, spare + 1, id, RANK.PAGE_TABLE, table, false)).toThrow(
      /lock order/,
    );
  });
});

describe('the mutex', () => {
  it('excludes; a thread that must not wait gets EAGAIN', async () => {
    const { memory, table, spare, ids } = testLocks(2);
    const [a, b] = ids as [number, number];
    const mutex = new Mutex(memory, spare, RANK.LDT, table, 'the LDT');
    mutex.lock(a, false);
    expect(codeOf(() => mutex.lock(b, false))).toBe('EAGAIN');
    const waiting = mutex.lockAsync(b);
    expect(await isSettled(waiting)).toBe(false);
    mutex.unlock(a);
    await waiting;
    expect(mutex.owner).toBe(b);
    mutex.unlock(b);
    expect(mutex.owner).toBe(-1);
  });

  it('poisons the machine when its owner is dead', () => {
    const { memory, table, spare, ids } = testLocks(2);
    const [a, b] = ids as [number, number];
    const mutex = new Mutex(memory, spare, RANK.LDT, table, 'the LDT');
    mutex.lock(a, true);
    table.declareDead(a);
    expect(codeOf(() => mutex.lock(b, true))).toBe('MACHINE_POISONED');
  });
});

describe('the thread table', () => {
  it('hands out ids, lowest first, and says when there are no more', () => {
    const { table, ids } = testLocks(3);
    expect(ids).toEqual([0, 1, 2]);
    table.release(1);
    expect(table.register()).toBe(1);
    for (let id = 3; id < THREADS_MAX; id++) table.register();
    expect(codeOf(() => table.register())).toBe('TOO_MANY_THREADS');
  });

  it('lets one caller bury a dead thread', () => {
    const { table, ids } = testLocks(1);
    expect(table.declareDead(ids[0]!)).toBe(true);
    expect(table.declareDead(ids[0]!)).toBe(false);
    table.bury(ids[0]!);
    expect(table.register()).toBe(ids[0]);
  });
});
