/**
 * A sink is one dump's from before it is opened until its image is committed or taken back. Two dumps
 * in one sink would write into each other's image, so whoever comes second is refused. The mark lies
 * here, for every sink alike, and not in the sinks: nobody who writes a new one has to think of it.
 */
import { MmdumpError } from '../../shared/errors.ts';
import type { Sink } from './sink.ts';

/** Every sink that is in use, or what it names as its target. */
const taken = new WeakSet<object>();

/** Takes the sink; the function that it returns gives it back. OUTPUT_FAILED while it is in use. */
export function takeSink(sink: Sink): () => void {
  const { path, kind, target = sink } = sink;
  if (taken.has(target)) {
    const name = path ?? `the ${kind} sink`;
    const fields = path === null ? {} : { path };
    throw new MmdumpError('OUTPUT_FAILED', `${name} is being written by another dump`, fields);
  }
  taken.add(target);
  return () => void taken.delete(target);
}
