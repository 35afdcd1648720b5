/**
 * What page faults have done: the kinds, the counters of an mm, and the events of a thread.
 *
 * The counters lie in the shared words of the mm (`MM_FIELD.COUNTERS`), and each fault adds to them
 * by Atomics. Events are told to listeners of the thread whose operation faulted, once the operation
 * has released all locks. A thread without listeners makes no events.
 */
import type { MmStruct } from './mm-struct.ts';

/**
 * What a page fault has done: 'anonymous' and 'file' map a page for the first time, 'zeroPage' maps
 * the zero page, 'huge' a page of 2 MiB, 'cow' a copy of a page, 'swapIn' and 'backing' a page that
 * they load from swap, or from an image or a process. 'reuse' makes a page writable that nothing
 * else refers to.
 */
export type FaultKind =
  | 'anonymous'
  | 'file'
  | 'zeroPage'
  | 'huge'
  | 'cow'
  | 'reuse'
  | 'swapIn'
  | 'backing';

/** A page fault of this thread that has been handled. */
export interface Fault {
  /** The slot of the address space in its machine, as in `mm.handle.slot`. */
  readonly slot: number;
  /** The address of the page, in bytes. */
  readonly address: number;
  /** What the access was for. */
  readonly access: 'read' | 'write';
  /** What the fault has done. */
  readonly kind: FaultKind;
  /** Whether the bytes of the page had to be read from somewhere else (VM_FAULT_MAJOR). */
  readonly isMajor: boolean;
}

/** How many page faults of an address space were handled, by what they did. */
export interface FaultCounters {
  /** Faults that found the bytes of the page in memory, or needed none (min_flt). */
  readonly minor: number;
  /** Faults that had to read the bytes: from swap, a file or a backing (maj_flt). */
  readonly major: number;
  /** Faults that copied a page, be it the zero page or a page of a file. */
  readonly cow: number;
  /** Writes that made a page writable that nothing else refers to (pgreuse). */
  readonly reuse: number;
  /** Pages that came from swap (pswpin). */
  readonly swapIn: number;
  /** Pages that came from the image or process in which a restore or an import left them. */
  readonly backing: number;
  /** Reads that mapped the zero page, of 4 KiB or 2 MiB. */
  readonly zeroPage: number;
  /** Pages of 2 MiB that were mapped (thp_fault_alloc). */
  readonly huge: number;
}

/**
 * The counters in MM_FIELD.COUNTERS, by what a fault has done. Each fault adds to one of them. 'first'
 * is the first mapping of a page that has no counter of its own.
 */
const COUNTERS = [
  'first',
  'firstMajor',
  'cow',
  'cowMajor',
  'reuse',
  'swapIn',
  'backing',
  'zeroPage',
  'huge',
] as const;
const MAJOR_BESIDE = 1; // from a counter to that of the major faults of the kind
const AT = Object.fromEntries(COUNTERS.map((name, at) => [name, at])) as {
  readonly [name in (typeof COUNTERS)[number]]: number;
};

/** Counts a fault of the mm. */
export function countFault(struct: MmStruct, kind: FaultKind, isMajor: boolean): void {
  if (kind === 'anonymous' || kind === 'file')
    struct.count(AT.first + (isMajor ? MAJOR_BESIDE : 0));
  else if (kind === 'cow') struct.count(AT.cow + (isMajor ? MAJOR_BESIDE : 0));
  else struct.count(AT[kind]);
}

/** The counters of an mm. */
export function faultCounters(struct: MmStruct): FaultCounters {
  const of = (name: keyof typeof AT): number => struct.counted(AT[name]);
  const [cowMinor, cowMajor, reuse, swapIn] = [
    of('cow'),
    of('cowMajor'),
    of('reuse'),
    of('swapIn'),
  ];
  const [backing, zeroPage, huge] = [of('backing'), of('zeroPage'), of('huge')];
  return {
    minor: of('first') + cowMinor + reuse + zeroPage + huge,
    major: of('firstMajor') + cowMajor + swapIn + backing,
    cow: cowMinor + cowMajor,
    reuse,
    swapIn,
    backing,
    zeroPage,
    huge,
  };
}

/** Who listens to the faults of this thread in a machine, and what they have not been told yet. */
export class FaultLog {
  /** Whether anybody listens. */
  isOn = false;
  readonly #listeners = new Set<(fault: Fault) => void>();
  #untold: Fault[] = [];

  add(listener: (fault: Fault) => void): void {
    this.#listeners.add(listener);
    this.isOn = true;
  }

  delete(listener: (fault: Fault) => void): void {
    this.#listeners.delete(listener);
    this.isOn = this.#listeners.size > 0;
  }

  /** Forgets all listeners, when the machine is closed. */
  clear(): void {
    this.#listeners.clear();
    this.isOn = false;
  }

  /** Notes a fault for the next `tell`. Precondition: `isOn`. */
  note(fault: Fault): void {
    this.#untold.push(fault);
  }

  /**
   * Tells the listeners what they have not been told. The thread holds no lock, so a listener may
   * run operations; their faults are told within. An error of a listener does not concern the access
   * that faulted: it is thrown where nobody catches it, as that of a listener of a timer.
   */
  tell(): void {
    const faults = this.#untold;
    if (faults.length === 0) return;
    this.#untold = [];
    for (const fault of faults) {
      for (const listener of this.#listeners) {
        try {
          listener(fault);
        } catch (error) {
          queueMicrotask(() => {
            throw error;
          });
        }
      }
    }
  }
}
