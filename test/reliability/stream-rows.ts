/** Rows of streams that fail. */

import { Collector, streamDestination } from './destinations.ts';
import { dumpCase, FAILED, namesOutput } from './dump-case.ts';
import type { Lab } from './lab.ts';
import { NOTHING, type Row } from './matrix.ts';

/** A stream fails at chunk n, for every n. */
export function streamRows(lab: Lab): Row[] {
  const noSpace = (): Error =>
    Object.assign(new Error('ENOSPC: no space left, write'), { code: 'ENOSPC' });
  const ways: [string, (stream: Collector, done: (error?: Error) => void) => void][] = [
    ['the stream fails at chunk n: ENOSPC', (_stream, done) => done(noSpace())],
    ['the stream is destroyed at chunk n', (stream) => void stream.destroy()],
    [
      'the stream is destroyed with an error at chunk n',
      (stream) => void stream.destroy(noSpace()),
    ],
  ];
  const rows = ways.map(
    ([fault, instead]): Row => ({
      fault,
      phase: 'copy',
      sink: 'stream',
      expected: FAILED,
      async *cases() {
        const chunks = await chunkCount(lab);
        for (const nth of lab.passes(chunks)) {
          const destination = streamDestination(lab, new Collector(nth, instead));
          yield dumpCase(lab, destination, [], (error) => {
            if (!error.message.startsWith('the stream cannot be written')) throw error;
            if (fault.includes('error')) namesOutput('ENOSPC')(error);
          });
        }
      },
    }),
  );
  rows.push({
    fault: 'somebody ends the stream at chunk n',
    phase: 'copy',
    sink: 'stream',
    expected: FAILED,
    async *cases() {
      const chunks = await chunkCount(lab);
      for (const nth of lab.passes(chunks - 1)) {
        const stream = new Collector(nth, (one, done) => {
          one.end();
          setImmediate(done);
        });
        yield dumpCase(lab, streamDestination(lab, stream), []);
      }
    },
  });
  return [...rows, ...endRows(lab)];
}

/** The end of the stream fails. Its last bytes leave it after it has taken the last chunk. */
function endRows(lab: Lab): Row[] {
  const broken = (): Error => Object.assign(new Error('EIO: i/o error, write'), { code: 'EIO' });
  class FailsAtEnd extends Collector {
    override _final(done: (error?: Error) => void): void {
      done(broken());
    }
  }
  class FailsLater extends Collector {
    override _final(done: (error?: Error) => void): void {
      setImmediate(done, broken());
    }
  }
  class FailsToClose extends Collector {
    override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
      setImmediate(done, error ?? broken());
    }
  }
  const ends = [
    ['the stream fails at its end: EIO', FailsAtEnd],
    ['the stream fails at its end, later: EIO', FailsLater],
    ['the stream fails while it closes: EIO', FailsToClose],
  ] as const;
  const rows = ends.map(
    ([fault, Failing]): Row => ({
      fault,
      phase: 'commit',
      sink: 'stream',
      expected: FAILED,
      async *cases() {
        yield dumpCase(lab, streamDestination(lab, new Failing()), [], namesOutput('EIO'));
      },
    }),
  );
  return [
    ...rows,
    {
      fault: 'the stream has ended before',
      phase: 'open',
      sink: 'stream',
      expected: FAILED,
      async *cases() {
        const stream = new Collector();
        stream.end();
        const destination = streamDestination(lab, stream);
        const left = (): string => (stream.chunks.length === 0 ? NOTHING : 'bytes');
        yield dumpCase(lab, { ...destination, left }, []);
      },
    },
  ];
}

async function chunkCount(lab: Lab): Promise<number> {
  const stream = new Collector();
  await lab.pair.dump(lab.space, lab.options(streamDestination(lab, stream).sink));
  if (stream.chunks.length < 2) throw new Error('one chunk only');
  return stream.chunks.length;
}
