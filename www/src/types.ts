/** Why an answer ended. `interrupted`: the page was closed while it was being written. */
export type Ending = 'stop' | 'length' | 'cancelled' | 'error' | 'interrupted';

/** A failure in words for the reader: what happened, and what can be done. */
export interface Trouble {
  /** Stable code of the engine's error. */
  code: string;
  title: string;
  advice: string;
  /** The engine's own words, for a report. */
  detail?: string;
}

/** How an answer came to be, as kept with it. */
export interface AnswerFacts {
  tokens: number;
  /** Tokens written per second. */
  speed: number;
  contextUsed: number;
  contextLength: number;
  /** Messages that no longer fitted into the context. */
  dropped: number;
}

export interface Message {
  id: string;
  role: 'user' | 'assistant';
  content: string;
  createdAt: number;
  /** Name of the model that wrote it. */
  model?: string;
  /** Absent while the answer is being written. */
  end?: Ending;
  facts?: AnswerFacts;
  trouble?: Trouble;
}

export interface Conversation {
  id: string;
  title: string;
  createdAt: number;
  updatedAt: number;
  messages: Message[];
}
