/** Where the image of a dry run goes: nowhere. Nothing is created, nothing can be written. */
import { assert } from '../../shared/assert.ts';
import type { CopyTarget } from '../../shared/dump/tasks.ts';
import type { Sink } from './sink.ts';

export class NoSink implements Sink {
  readonly kind = 'memory';
  readonly path: null = null;

  async open(): Promise<void> {}

  reserve(): Promise<CopyTarget> {
    assert(false, 'a dry run writes nothing');
  }

  async commit(): Promise<void> {}

  async abort(): Promise<void> {}
}
