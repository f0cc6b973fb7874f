"""Phrases of small talk by intent, system prompts, and openings and endings of requests."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are tiny-chat, a helpful assistant.",
    "You are a friendly assistant.",
    "Be brief.",
    "You are a helpful assistant. Use the tools when they fit.",
    "Help the user.",
    "You are an assistant in a notebook.",
    "Answer in one sentence.",
    "You are a data analyst.",
    "You are an expert programmer.",
    "You help people with their work.",
    "Answer politely.",
    "You are a travel agent.",
    "You can call functions.",
    "Keep it short.",
    "You are a careful assistant.",
    "You are an AI assistant that calls tools to answer the user's questions.",
    "Answer the user.",
    "You are a home assistant.",
    "Use the functions to answer. Do not guess.",
    "You are a math tutor.",
)
ONE_WORD = (
    "Answer in one word.",
    "Answer with one word only.",
    "Reply in one word.",
    "Use one word only.",
    "You answer in one word.",
    "Always answer with a single word.",
    "Only one word answers.",
)
PIRATE = (
    "You are a pirate.",
    "Talk like a pirate.",
    "Speak like a pirate.",
    "Answer like a pirate.",
    "You are a pirate captain. Answer like one.",
)
BEFORE_COMMAND = (
    "please ",
    "can you ",
    "could you ",
    "could you please ",
    "I want you to ",
    "I would like you to ",
    "would you ",
    "hey, ",
    "now ",
    "next, ",
    "you should ",
    "can you please ",
    "go and ",
    "kindly ",
    "I need you to ",
)
BEFORE_ANY = (
    "hi, ",
    "hello, ",
    "hey, ",
    "ok, ",
    "so, ",
    "tell me: ",
    "quick question: ",
    "and ",
    "also, ",
    "well, ",
)
AFTER = (" please", ", please", " now", " for me", " thanks", ", thanks", " again", " right now")
UNKNOWN = (
    "I do not know that. I am only a small demonstration model; "
    "load a larger one with `%mlx load NAME`."
)
NO_TOOL = "I have no tool for that, and I am only a small demonstration model."
OPEN_QUESTIONS = (
    "what is {topic}",
    "explain {topic}",
    "tell me about {topic}",
    "who invented the {object}",
    "how does a {object} work",
    "what is the history of {city}",
    "who is the president of {country}",
    "what is the capital of {country}",
    "why is the {object} {colour}",
    "how do {animal}s sleep",
    "who was {person}",
    "what do you know about {topic}",
    "write an essay about {topic}",
    "when was the {object} invented",
    "how many people live in {city}",
    "what is the meaning of life",
    "who wrote this",
    "what is the best {object}",
    "where is {city}",
    "how do I become good at {topic}",
    "why do we need {topic}",
    "what is the difference between {topic} and {topic2}",
    "give me an introduction to {topic}",
    "is {topic} important",
    "what happened in {year}",
    "who won the game in {year}",
    "how old is {person}",
    "what does {person} think about {topic}",
    "summarize {topic}",
    "what is the population of {country}",
    "how tall is the tower in {city}",
    "what is a {animal}",
    "what does a {animal} eat",
    "how fast is a {animal}",
    "how do I cook {food}",
    "is {food} healthy",
    "what is the weather in {city}",
    "what time is it in {city}",
    "what time is it",
    "what is the date today",
    "what is the news",
    "who is {person}",
    "how much is a {object}",
    "translate {food} into {language}",
    "translate hello to {language}",
    "translate {animal} to {language}",
    "how do you say {animal} in {language}",
    "summarize this text",
    "correct my grammar",
    "plan a trip to {city}",
    "plan my day",
    "plan my week",
    "what should I do today",
    "give me advice",
    "write a letter to {person}",
    "recommend a book about {topic}",
    "what is {topic} in simple words",
    "is a {food} a fruit",
    "is a {animal} bigger than a {object}",
    "how far is it from {city} to the sea",
    "who wrote the book about {topic}",
    "why is the sky {colour}",
    "what should I cook with {food}",
    "how many legs does a {animal} have",
)


@dataclass(frozen=True)
class Intent:
    """One kind of small talk."""

    word: str
    answer: str
    phrasings: tuple[str, ...]


@cache
def intents() -> tuple[Intent, ...]:
    """Return all intents in chat.txt."""
    source = files(__package__).joinpath("chat.txt").read_text(encoding="utf-8")
    found = []
    for block in source.split("\n\n"):
        if block.strip() and not block.startswith("#"):
            word, answer, *phrasings = block.strip().splitlines()
            found.append(Intent(word, answer, tuple(phrasings)))
    return tuple(found)


def as_user(said: str, rng: Random, keep_case: bool = False, command: bool | None = None) -> str:
    """Return a clause as people type it, with or without capital, final mark and polite words."""
    first = said.split(" ", 1)[0]
    question = first.lower() in _QUESTION_WORDS
    if command is None:
        command = not question and first.islower() and first not in _NOT_COMMANDS
    roll = rng.random()
    if command and roll < 0.3:
        opening = rng.choice(BEFORE_COMMAND)
        said = opening + said
        question = opening.startswith(("can", "could", "would"))
    elif roll < 0.36 and not keep_case:
        said = rng.choice(BEFORE_ANY) + said
    if rng.random() < 0.1 and not said.endswith(("?", '"')):
        said += rng.choice(AFTER)
    if not keep_case and rng.random() < 0.6:
        said = said[:1].upper() + said[1:]
    if said[-1] in "?.!":
        return said
    if question:
        return said + rng.choice(("?", "?", "?", ""))
    return said + rng.choice((".", ".", "", "", "!" if rng.random() < 0.3 else ""))


_QUESTION_WORDS = {
    "what",
    "what's",
    "which",
    "who",
    "where",
    "when",
    "why",
    "how",
    "how's",
    "is",
    "are",
    "do",
    "does",
    "did",
    "can",
    "could",
    "will",
    "would",
    "has",
    "have",
    "should",
    "am",
}
_NOT_COMMANDS = {"i", "the", "a", "an", "my", "your", "in", "on", "it", "there", "new", "we"}
