/** The sink of a dry run. It creates nothing, and nothing can be written into it. */
import { assert } from '../../shared/assert.ts';
import type { Sink, SinkTarget } from './sink.ts';

export class NoSink implements Sink {
  readonly kind = 'memory';
  readonly path: null = null;

  async open(): Promise<void> {}

  reserve(): Promise<SinkTarget> {
    assert(false, 'a dry run writes nothing');
  }

  async commit(): Promise<void> {}

  async abort(): Promise<void> {}
}
