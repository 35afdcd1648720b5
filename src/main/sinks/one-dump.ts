/**
 * A sink belongs to one dump from before it is opened until its image is committed or taken back.
 * Two dumps into one sink would overwrite each other's image, so the second one is refused. The
 * marks lie here and not in the sinks, so that the author of a new sink cannot forget them.
 */
import { MmdumpError } from '../../shared/errors.ts';
import type { Sink } from './sink.ts';

/** The targets of the sinks that are in use; the target is the sink itself by default. */
const taken = new WeakSet<object>();

/** Takes the sink. The function that it returns gives it back. OUTPUT_FAILED while it is in use. */
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
