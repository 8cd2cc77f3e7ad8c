/** An element of a `RecencyList`, which keeps these fields. */
export interface Recent<T> {
  older: T | undefined;
  newer: T | undefined;
}

/** Elements from the least to the most recently used: linked through the elements, so that a use costs next to nothing. */
export class RecencyList<T extends Recent<T>> {
  #oldest: T | undefined;
  #newest: T | undefined;

  get oldest(): T | undefined {
    return this.#oldest;
  }

  /** Makes `element` the newest, whether or not it is in the list. */
  use(element: T): void {
    if (this.#newest === element) return;
    this.remove(element);
    element.older = this.#newest;
    if (this.#newest === undefined) this.#oldest = element;
    else this.#newest.newer = element;
    this.#newest = element;
  }

  remove(element: T): void {
    if (element.older !== undefined) element.older.newer = element.newer;
    else if (this.#oldest === element) this.#oldest = element.newer;
    if (element.newer !== undefined) element.newer.older = element.older;
    else if (this.#newest === element) this.#newest = element.older;
    element.older = undefined;
    element.newer = undefined;
  }
}
