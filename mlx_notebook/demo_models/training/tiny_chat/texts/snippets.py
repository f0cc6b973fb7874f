"""The Python code that tiny-chat can write, and the names that users give it."""

from __future__ import annotations

CODE: dict[str, tuple[str, ...]] = {
    "def add(a, b):\n    return a + b": (
        "adds two numbers",
        "sums two numbers",
        "returns the sum of two numbers",
    ),
    "def subtract(a, b):\n    return a - b": (
        "subtracts two numbers",
        "returns the difference of two numbers",
    ),
    "def multiply(a, b):\n    return a * b": (
        "multiplies two numbers",
        "returns the product of two numbers",
    ),
    "def divide(a, b):\n    return a / b": ("divides two numbers", "divides one number by another"),
    "def square(x):\n    return x * x": ("squares a number", "returns the square of a number"),
    'def greet(name):\n    return f"Hello, {name}!"': (
        "greets a person",
        "says hello to somebody",
        "greets someone by name",
    ),
    "def is_even(n):\n    return n % 2 == 0": (
        "checks whether a number is even",
        "tells if a number is even",
    ),
    "def factorial(n):\n    return 1 if n < 2 else n * factorial(n - 1)": (
        "computes a factorial",
        "computes the factorial of n",
    ),
    "def reverse(text):\n    return text[::-1]": ("reverses a string", "turns a string around"),
    "def largest(numbers):\n    return max(numbers)": (
        "finds the largest number",
        "returns the maximum of a list",
    ),
    "def mean(numbers):\n    return sum(numbers) / len(numbers)": (
        "computes the mean",
        "averages a list of numbers",
    ),
    "def fibonacci(n):\n    a, b = 0, 1\n"
    "    for _ in range(n):\n        a, b = b, a + b\n    return a": (
        "computes fibonacci numbers",
        "returns the n-th fibonacci number",
    ),
    "def count_words(text):\n    return len(text.split())": (
        "counts words",
        "counts the words of a text",
    ),
}
SNIPPETS: dict[str, tuple[str, ...]] = {
    'print("Hello, world!")': (
        "write hello world in python",
        "hello world in python",
        "print hello world",
        "show me hello world",
    ),
    "for i in range(10):\n    print(i)": (
        "write a loop in python",
        "show me a for loop",
        "write a for loop",
        "loop over ten numbers",
    ),
    'import pandas as pd\n\ntable = pd.read_csv("data.csv")\ntable.head()': (
        "read a csv with pandas",
        "show me how to read a csv file in python",
    ),
    "squares = [n * n for n in range(10)]": (
        "write a list comprehension",
        "show me a list comprehension",
    ),
}
