/** Checks of sinks, which may be objects that no compiler has checked. */
import { type Check, objectWith, oneOf, text } from '../../shared/arguments/checks.ts';
import type { Sink } from './sink.ts';

const KIND = oneOf(['file', 'split', 'memory', 'stream']);
const METHODS: Check<Sink> = objectWith<Sink>(
  ['open', 'reserve', 'commit', 'abort'],
  'a sink, made by fileSink, splitSink, memorySink or streamSink, or one of your own',
);

/** Checks the sink of an image. */
export const SINK: Check<Sink> = (what, value) => {
  const sink = METHODS(what, value);
  KIND(`${what}.kind`, sink.kind);
  if (sink.path !== null) text(`${what}.path`, sink.path);
  return sink;
};
