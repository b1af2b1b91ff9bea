"""Synthetic proposals: who hands them in, how they move, and what is wrong with some. Nobody in them is real."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

#: The statuses of a proposal, in order; the last is where it ends.
STATUSES = (
    "Aguardando Analista",
    "Aguardando análise",
    "Em análise",
    "Aguardando Aprovação",
    "Aprovado",
    "Enviado para Assinar",
    "Assinado",
    "Liberado",
    "Finalizado",
    "Pago",
)
#: Where the bot takes a proposal on, and where it leaves it.
TAKEN, HANDLED = STATUSES.index("Liberado"), STATUSES.index("Finalizado")
PAID = len(STATUSES) - 1

#: What the pipeline says of each kind of fault.
REASONS = {
    "NFECHAVE": "Sem chave da nota",
    "DUPLICATA": "Formato da duplicata",
    "SEUNO": "Fora da faixa impressa",
    "CHEQUE": "Mais de 100 cheques",
}

_SEED = 12780
_CLIENTS = (
    *("Comercial Exemplo", "Fictícia Têxtil", "Imaginária Alimentos", "Indústria Inventada", "Invento Metais"),
    *("Mercado de Mentira", "Modelo Embalagens", "Nenhures Transportes", "Quimera Papéis", "Utopia Calçados"),
)
_BRANCHES = ("Comércio", "Indústria", "Serviços", "Transporte")
_MANAGERS = ("Gerente Amostra", "Gerente Exemplo", "Gerente Modelo")
_COMPANIES = ("Empresa Fictícia A", "Empresa Fictícia B")
_PRODUCTS = ("Convencional", "Comissária", "Escritural", "Intercompany")
_CHEQUES = "Cheque"


@dataclass(frozen=True)
class Product:
    """A product in a proposal: its titles and their value in cents."""

    name: str
    titles: int
    cents: int


@dataclass
class Proposal:
    """A proposal as the pipeline's own source has it.

    Attributes:
        group: a name for what the script does with it.
        place: in :data:`STATUSES`.
        fault: the validation that it fails; empty where it passes all.
        rest: runs until it moves.
        asleep: whether it moves at all.
        neglected: whether the bot forgets to confirm what it did.
        stored: whether it was valid once, and so has its row.
        handled: whether the bot has processed it.
        confirmed: whether that is confirmed.
        done: whether the source shows it no more.
    """

    number: int
    client: str
    branch: str
    manager: str
    company: str
    products: tuple[Product, ...]
    group: str
    place: int = 0
    fault: str = ""
    rest: int = 2
    asleep: bool = False
    neglected: bool = False
    stored: bool = False
    handled: bool = False
    confirmed: bool = False
    done: bool = False

    @property
    def status(self) -> str:
        """As text."""
        return STATUSES[self.place]

    @property
    def titles(self) -> int:
        """Of all products."""
        return sum(product.titles for product in self.products)

    @property
    def cents(self) -> int:
        """The titles' value."""
        return sum(product.cents for product in self.products)


@dataclass
class Day:
    """The proposals of a business date, the same on every run for the same name.

    Attributes:
        rest: runs of the pipeline between two moves of a proposal, at least and at most.
        proposals: all of them, the oldest first.
    """

    name: str
    rest: tuple[int, int] = (2, 3)
    proposals: list[Proposal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"{_SEED} {self.name}")
        self._next = 1

    def come(self, group: str, count: int = 1, *, fault: str = "", place: int = 0) -> None:
        """New proposals come in."""
        for _ in range(count):
            chance = self._chance
            names = [_CHEQUES] if fault == "CHEQUE" else chance.sample(_PRODUCTS, chance.randint(1, 3))
            most = 140 if fault == "CHEQUE" else 30
            products = tuple(
                Product(name, titles, titles * chance.randrange(50_000, 900_000))
                for name in names
                for titles in [chance.randint(101 if fault == "CHEQUE" else 2, most)]
            )
            who = (chance.choice(_CLIENTS), chance.choice(_BRANCHES), chance.choice(_MANAGERS))
            proposal = Proposal(self._next, *who, chance.choice(_COMPANIES), products, group, place, fault)
            self.proposals.append(proposal)
            self._next += 1

    def of(self, group: str) -> list[Proposal]:
        """Those that came in under this name."""
        return [each for each in self.proposals if each.group == group]

    def move(self) -> None:
        """A run later: those that have rested move on. One that is invalid waits for what is missing."""
        for each in self.proposals:
            if each.fault or each.asleep or each.done or not each.stored:
                continue
            each.rest -= 1
            # What the bot has taken on, it brings further; see Pipeline.
            if each.rest <= 0 and each.place not in (TAKEN, PAID):
                each.place += 1
                each.rest = self._chance.randint(*self.rest)

    def ready_for_bot(self) -> list[Proposal]:
        """What the bot can take on."""
        return [each for each in self.proposals if each.place == TAKEN and each.rest <= 0 and not each.fault]
