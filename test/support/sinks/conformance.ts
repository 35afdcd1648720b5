/**
 * What every sink has to do, whoever wrote it. It uses the public interface only: a sink of another
 * program can be run against it, too.
 *
 * Invariants checked: the image is the same, byte for byte, for any number of workers · `open`,
 * `reserve` and then either `commit` or `abort` are called, each once · when the dump resolves, the
 * image is where it belongs · a dump that fails or is stopped, at any step, leaves nothing and rejects
 * with its own error · the sink is free again afterwards, and a second dump meanwhile is refused
 */
import {
  createDumper,
  createWorkload,
  type Dumper,
  MiB,
  memorySink,
  type Sink,
  type Workload,
} from 'mmdump';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** A sink, and what can be seen of it from outside. */
export interface SinkFixture {
  readonly sink: Sink;
  /** The image that is there, whole; undefined if there is none. */
  image(): Promise<Uint8Array | undefined>;
  /** Names what there is besides a whole image: temporary files, uploads that are not complete. */
  remains(): Promise<readonly string[]>;
  /** Removes the image and all that the fixture has made. */
  close(): Promise<void>;
  /** Whether the sink can take another image after one that is whole. Default true. */
  readonly isReusable?: boolean;
}

const STEPS = ['open', 'reserve', 'commit'] as const;
type Step = (typeof STEPS)[number];

/** Declares the tests of one kind of sink. `make` makes a sink that has not been used. */
export function sinkConformance(name: string, make: () => Promise<SinkFixture>): void {
  describe(`the conformance of ${name}`, () => {
    let workload: Workload;
    let dumpers: readonly Dumper[];
    let expected: Uint8Array;
    beforeAll(async () => {
      workload = await createWorkload('mixed', { size: 6 * MiB });
      dumpers = await Promise.all([1, 2, 3].map((workers) => createDumper({ workers })));
      expected = await imageOf(dumpers[0]!, workload);
    });
    afterAll(async () => {
      for (const dumper of dumpers) await dumper.close();
      await workload.machine.close();
    });

    /** Runs a test with a fixture of its own. */
    const using = async (test: (fixture: SinkFixture) => Promise<void>): Promise<void> => {
      const fixture = await make();
      try {
        await test(fixture);
      } finally {
        await fixture.close();
      }
    };
    const expectWhole = async ({ image, remains }: SinkFixture): Promise<void> => {
      const bytes = await image();
      expect(bytes?.length).toBe(expected.length);
      expect(Buffer.compare(bytes!, expected)).toBe(0);
      expect(await remains()).toEqual([]);
    };
    const expectNothing = async ({ image, remains }: SinkFixture): Promise<void> => {
      expect(await image()).toBeUndefined();
      expect(await remains()).toEqual([]);
    };

    it('the same bytes for every number of workers, there when the dump resolves', async () => {
      for (const dumper of dumpers) {
        await using(async (fixture) => {
          const { image } = await dumper.dump(workload.space, { to: fixture.sink });
          expect(image).toMatchObject({ path: fixture.sink.path, bytes: expected.length });
          await expectWhole(fixture);
        });
      }
    });

    it('each step once, in order', async () => {
      await using(async ({ sink }) => {
        const seen: string[] = [];
        await dumpers[1]!.dump(workload.space, {
          to: watched(sink, (step) => void seen.push(step)),
        });
        expect(seen).toEqual(['open', 'reserve', 'commit']);
      });
    });

    it.each(STEPS)('stopped when %s begins: nothing is left, and it can be used again', (at) =>
      using(async (fixture) => {
        const controller = new AbortController();
        const { signal } = controller;
        const seen: string[] = [];
        const to = watched(fixture.sink, (step) => {
          seen.push(step);
          if (step === at) controller.abort();
        });
        const dump = dumpers[1]!.dump(workload.space, { to, signal });
        // A commit that is over at once is quicker than the stop, and the image stays.
        const isDone = await dump.then(
          () => true,
          (error) => expect(error).toMatchObject({ code: 'ABORT_ERR' }),
        );
        if (isDone === true) {
          expect(seen).toEqual(['open', 'reserve', 'commit']);
          return expectWhole(fixture);
        }
        await settled(() => seen.includes('abort end'));
        expect(seen.filter((step) => step === 'abort')).toHaveLength(1);
        await expectNothing(fixture);
        await expectUsable(fixture);
      }),
    );

    it('stopped while the bytes are written', () =>
      using(async (fixture) => {
        const controller = new AbortController();
        const dump = dumpers[1]!.dump(workload.space, {
          to: fixture.sink,
          signal: controller.signal,
          onProgress: ({ phase }) => {
            if (phase === 'copy') controller.abort();
          },
        });
        await expect(dump).rejects.toMatchObject({ code: 'ABORT_ERR' });
        await expectNothing(fixture);
        await expectUsable(fixture);
      }));

    it('a failure of the dump is what it rejects with, and nothing is left', () =>
      using(async (fixture) => {
        const failure = new Error('the caller has changed its mind');
        const onCaptured = (): Promise<void> => Promise.reject(failure);
        const dump = dumpers[2]!.dump(workload.space, { to: fixture.sink, onCaptured });
        await expect(dump).rejects.toBe(failure);
        await expectNothing(fixture);
        await expectUsable(fixture);
      }));

    it('an image that would be too long is refused before its first byte', () =>
      using(async (fixture) => {
        const dump = dumpers[0]!.dump(workload.space, { to: fixture.sink, sizeLimit: 5000 });
        await expect(dump).rejects.toMatchObject({ code: 'SIZE_LIMIT' });
        await expectNothing(fixture);
      }));

    it('a second dump is refused, and does not disturb the first', () =>
      using(async (fixture) => {
        const first = dumpers[0]!.dump(workload.space, { to: fixture.sink });
        const second = dumpers[1]!.dump(workload.space, { to: fixture.sink });
        await expect(second).rejects.toMatchObject({ code: 'OUTPUT_FAILED' });
        await first;
        await expectWhole(fixture);
      }));

    it('takes one image after the other, or says that it cannot', () =>
      using(async (fixture) => {
        await dumpers[0]!.dump(workload.space, { to: fixture.sink });
        const again = dumpers[1]!.dump(workload.space, { to: fixture.sink });
        if (fixture.isReusable === false) await expect(again).rejects.toThrow();
        else await again;
        await expectWhole(fixture);
      }));

    /** After a dump that failed. A stream is gone with it. */
    async function expectUsable(fixture: SinkFixture): Promise<void> {
      if (fixture.sink.kind === 'stream' && fixture.isReusable === false) return;
      await dumpers[0]!.dump(workload.space, { to: fixture.sink });
      await expectWhole(fixture);
    }
  });
}

/** The bytes that every sink must hold. */
async function imageOf(dumper: Dumper, { space }: Workload): Promise<Uint8Array> {
  const sink = memorySink();
  await dumper.dump(space, { to: sink });
  const { bytes, chunks } = sink.image;
  return Buffer.concat(chunks).subarray(0, bytes);
}

/** The same sink, which says when a step begins, and when `abort` has ended. */
function watched(sink: Sink, tell: (step: Step | 'abort' | 'abort end') => void): Sink {
  const told = <A extends unknown[], R>(step: Step, call: (...args: A) => R) => {
    return (...args: A): R => {
      tell(step);
      return call(...args);
    };
  };
  const { drain } = sink; // sinks of the package have it, and a wrapper must pass it on
  return {
    kind: sink.kind,
    path: sink.path,
    open: told('open', () => sink.open()),
    reserve: told('reserve', (extent) => sink.reserve(extent)),
    ...(drain === undefined ? {} : { drain: (context) => drain.call(sink, context) }),
    commit: told('commit', (image) => sink.commit(image)),
    async abort() {
      tell('abort');
      await sink.abort();
      tell('abort end');
    },
  };
}

/** Waits for something that a stopped dump does not wait for. */
async function settled(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}
