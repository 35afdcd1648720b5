/** Where the image of a dry run goes: nowhere. Nothing is created, nothing can be written. */
import { assert } from '../../shared/assert.ts';
import type { CopyTarget } from '../../shared/dump/tasks.ts';
import type { Sink } from './sink.ts';

export const NO_SINK: Sink = {
  kind: 'memory',
  path: null,
  async open() {},
  reserve(): Promise<CopyTarget> {
    assert(false, 'a dry run writes nothing');
  },
  async commit() {},
  async abort() {},
};
