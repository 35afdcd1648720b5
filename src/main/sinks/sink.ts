/** Where an image goes. Made by `fileSink` or `memorySink`, used for one dump at a time. */
import type { CopyTarget } from '../../shared/dump/tasks.ts';

export interface Sink {
  readonly kind: 'file' | 'memory';
  /** Where the image will lie, or null. */
  readonly path: string | null;
  /** Before the mm is touched: whatever can fail early fails here. */
  open(): Promise<void>;
  /** The image has this length; returns where the workers write. */
  reserve(bytes: number): Promise<CopyTarget>;
  /** Every byte is written: makes the image appear. */
  commit(): Promise<void>;
  /** Leaves nothing behind. Called instead of commit, at any point after open was called. */
  abort(): Promise<void>;
}
